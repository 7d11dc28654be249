"""Everything that touches the kernel. Only program.py imports bcc."""
