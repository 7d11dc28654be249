"""What leaves nettop: one module a format over the one snapshot, and where it is written to."""
