"""The host's end of a board's link, and a simulated board."""
