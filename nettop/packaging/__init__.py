"""What `make deb`, `make pyz` and `make release` build from; part of no package itself."""
