"""Boards: what goes on them, how it is built, and the host that drives it."""
