"""Cycles, time and energy of models on designs, estimated without simulation."""
