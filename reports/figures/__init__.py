"""Figures and the drawn files of the last run."""
