"""Networks and images stored with the package."""
