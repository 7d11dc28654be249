"""nettop: top for the network of a Linux host."""

__version__ = "0.2.0"
