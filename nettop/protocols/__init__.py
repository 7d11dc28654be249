"""What programs say to each other, read from the first bytes of each message: pure functions, never trusted input."""
