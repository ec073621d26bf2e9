"""Cost model: cycles, time and energy of language models on designs, without simulation."""
