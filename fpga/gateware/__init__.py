"""Top levels of boards: engine, weight memory and host link."""
