"""Layers and whole networks, computed in NumPy."""
