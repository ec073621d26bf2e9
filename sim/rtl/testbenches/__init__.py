"""cocotb testbenches that ``make sim`` runs, and the parts that they share with those of tests."""
