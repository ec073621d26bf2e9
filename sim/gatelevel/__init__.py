"""Energy, area and speed of synthesized netlists, measured with a cell library.

``synthesis`` maps a component to cells, ``interpreter`` and ``icarus`` simulate the netlist on
operands, and ``power`` computes energy from the activity of its nets. ``characterize`` does all of
it for one unit, ``campaign`` for all units of a table.
"""
