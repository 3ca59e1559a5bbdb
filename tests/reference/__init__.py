"""The original's own numbers, and the comparison of every one of them with this port (see README.md)."""
