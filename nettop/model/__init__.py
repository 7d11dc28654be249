"""What nettop knows, free of where it came from and of how it is shown."""
