"""Trained networks that are stored in the repository."""

from pathlib import Path

__all__ = ["DIGITS", "PYDOC"]

#: Folder of the trained classifier of handwritten digits, with its test images.
DIGITS = Path(__file__).parent / "digits"
#: Folder of the trained language model, with its tokenizer and held-out text.
PYDOC = Path(__file__).parent / "pydoc"
