"""Simulation of the RTL under Verilator, by jobs and by cocotb testbenches."""
