"""The multiplication-free matrix-vector engine and its parts."""
