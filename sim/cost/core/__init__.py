"""Cycle model of the token core: what each part does in each cycle, without data."""
