"""nettop on other kernels, each in a virtual machine of its own; see matrix.py."""

PATIENCE_S = 240.0  # for an emulated machine whose host is busy: to compile alone takes it one or two minutes
