"""The command ``trilith``."""
