"""Energy and area of synthesized netlists, measured with a cell library."""
