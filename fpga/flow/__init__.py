"""Synthesis, placement and bitstreams, and the area that they measure."""
