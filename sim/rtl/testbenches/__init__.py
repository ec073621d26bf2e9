"""cocotb testbenches, run by ``trilith.sim.testbench.run_testbench``."""
