"""External programs: finding them, running them, keeping what they made."""
