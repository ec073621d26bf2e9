"""Theorem about exported Verilog."""
