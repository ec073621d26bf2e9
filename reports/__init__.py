"""Figures and tables, made from what the other rooms return."""
