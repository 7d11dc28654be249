"""The manual and the completions, as they are installed; `make share` writes them anew."""
