import pytest


def _row(unit, clock_ghz, energy_fj, area, met=True):
    return {
        "unit": unit,
        "lanes": 16,
        "rows": 1,
        "levels_per_stage": 1,
        "variant": "",
        "interleave": 1,
        "latency": 9,
        "clock_ghz": clock_ghz,
        "met": met,
        "max_ghz": 1.0,
        "energy_fj": energy_fj,
        "internal_fj": 1.0,
        "switching_fj": 1.0,
        "leakage_fj": 1.0,
        "refused": 0.0,
        "ports_fj": 1.0,
        "opensta_internal_fj": 2.0,
        "glitches_fj": None,
        "placed": None,
        "glitch_transitions": None,
        "parts_fj": {"clock": 13.0},
        "area": area,
        "cells": 10,
        "flip_flops": 5,
        "results": 9,
        "operands": "trained",
        "beats": 99,
        "zero_weights": 0.4,
        "zero_activations": 0.2,
        "provenance": 0,
        "key": "0",
    }


@pytest.fixture
def stored_table():
    """Content of a file of measured units, as the gate-level flow writes it."""
    macro = {"name": "m", "words": 1024, "bits": 64, "read_pj": 64.0, "write_pj": 128.0}
    return {
        "library": "demo",
        "node": "7 nm, 0.7 V",
        "provenance": [{"files": [], "voltage": "0.7"}],
        "sram": [macro | {"area": 1.0, "leakage_nw": 1.0, "source": "a file"}],
        "rows": [
            _row("ternaryxint8-escape", 1.0, 39.0, 320.0),
            _row("ternaryxint8-escape", 0.5, 40.0, 320.0),
            _row("fp16xfp16-fp32-fused", 1.0, 279.0, 2400.0, met=False),
            _row("fp16xfp16-fp32-fused", 0.5, 280.0, 2400.0),
        ],
    }
