"""Verilog with its description, constraints, testbench and packages."""
