"""Checkpoints of ternary models: readers, writers and comparison of every public format."""
