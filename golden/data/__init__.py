"""Trained networks that are stored in the repository."""

from pathlib import Path

__all__ = ["DIGITS", "PYDOC", "SHERRY_DIGITS"]

#: Folder of the trained classifier of handwritten digits, with its test images.
DIGITS = Path(__file__).parent / "digits"
#: Folder of the same classifier with one zero in each four weights, the form of ``sherry``.
SHERRY_DIGITS = DIGITS / "sherry"
#: Folder of the trained language model, with its tokenizer and held-out text.
PYDOC = Path(__file__).parent / "pydoc"
