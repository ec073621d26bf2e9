"""Simulation of Verilog with Verilator.

``simulator`` runs jobs on the engine, ``clocked`` runs any component cycle by cycle on arrays, and
``cocotb_runner`` runs cocotb testbenches. ``suite`` has the cases of ``make sim``.
"""
