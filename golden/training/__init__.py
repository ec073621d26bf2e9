"""Scripts that train the small networks stored in `golden/data` (they need the extra `train`)."""
