"""Tools of all rooms above: they find and run external programs, and keep their output.

``toolchain`` and ``verilator`` find programs, ``run`` runs them, ``cache`` keeps files that take
long to make, and ``doctor`` lists what is installed.
"""
