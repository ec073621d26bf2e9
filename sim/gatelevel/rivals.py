"""Number formats of the comparison, and the library in which their variants are searched."""

__all__ = ["FURTHER_OPERANDS", "RIVALS", "SEARCHED"]

#: Codes of ternary weights in the comparison.
_CODES = ("sherry", "escape", "base3", "two_bit")

#: The formats of the comparison, and the units that compute in each. A format is as good as the
#: best variant of its units.
RIVALS = {
    **{f"ternary {code}": (f"ternaryxint8-{code}",) for code in _CODES},
    "INT4 x INT4": ("int4xint4",),
    "INT4 x INT8": ("int4xint8",),
    "INT8": ("int8xint8",),
    **{
        name: tuple(f"{formats}-{form}" for form in ("fused", "tree"))
        for name, formats in (
            ("FP8 E4M3", "e4m3xe4m3-fp32"),
            ("FP8 E5M2", "e5m2xe5m2-fp32"),
            ("W4A16", "int4xfp16-fp32"),
            ("BF16", "bf16xbf16-fp32"),
            ("FP16", "fp16xfp16-fp32"),
            ("FP16 to FP16", "fp16xfp16-fp16"),
        )
    },
}

#: Operands on which the best unit of each format is measured, too, see ``zero_share``.
FURTHER_OPERANDS = ("held-activations", "held-weights", "pydoc")

#: The library in which all variants are measured; others measure the best of it.
SEARCHED = "asap7"
