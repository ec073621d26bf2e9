"""Netlists of hardware in RTLIL: a mutant that changes none of them is equal to its source."""

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace

from amaranth.back import rtlil
from amaranth.lib import wiring

from trilith.golden.codes import Code
from trilith.hw import PRESETS, AxiMatVec, MatVecConfig, MatVecEngine
from trilith.hw.axi.core_wrapper import AxiTokenCore
from trilith.hw.axi.stream import AxiStreamReader, AxiStreamWriter
from trilith.hw.axi.weight_readers import AxiWeightReaders
from trilith.hw.baselines import BASELINES, DotConfig, SystolicArray
from trilith.hw.baselines.output_stationary import OutputStationaryArray
from trilith.hw.config import Target, WeightCode
from trilith.hw.gearbox import Gearbox
from trilith.hw.token.config import CORE_PRESETS
from trilith.hw.token.core import TokenCore


def _engines() -> Iterator[MatVecConfig]:
    small = MatVecConfig(lanes=8, rows=2, k_max=64, n_max=64)
    for target in Target:
        yield from (replace(PRESETS[name], target=target) for name in ("micro", "line"))
        for code in WeightCode:
            yield replace(small, target=target, code=code)
        for act_bits in (4, 2):
            yield replace(small, target=target, act_bits=act_bits, tokens=3)
    yield MatVecConfig(lanes=11, rows=3, tokens=2, k_max=40, n_max=9, levels_per_stage=2)


#: Small, because the units of floats are large.
_DOT = DotConfig(lanes=3, k_max=20)


def _units() -> Iterator[wiring.Component]:
    for baseline in BASELINES.values():
        for target, levels in zip(Target, (1, 2, 1), strict=True):
            try:
                yield baseline.unit(replace(_DOT, levels_per_stage=levels, target=target))
            except ValueError:
                continue
        for choice in baseline.kind.CHOICES:
            try:
                yield baseline.unit(replace(_DOT, choices=(choice,)))
            except ValueError:
                continue
        if isinstance(baseline.activations, Code):
            continue
        try:
            yield SystolicArray(
                rows=2, columns=2, weights=baseline.weights, activations=baseline.activations
            )
        except ValueError:
            continue
    yield OutputStationaryArray(size=2)


def _of(folder: str) -> Iterator[wiring.Component]:
    """Components that contain all hardware of a folder of ``hw``."""
    if folder == "baselines":
        yield from _units()
    elif folder == "token":
        yield TokenCore(CORE_PRESETS["small"])
        yield TokenCore(CORE_PRESETS["pydoc-ecp5"], trace=True)
    else:
        yield from map(MatVecEngine, _engines())
        for sizes in ((4, 3), (8, 7), (4, 1), (1, 4), (8, 8), (20, 8)):
            yield Gearbox(in_bytes=sizes[0], out_bytes=sizes[1])
        for bits, size in ((32, 3), (64, 20), (32, 1)):
            yield AxiStreamReader(bus_bits=bits, beat_bytes=size)
            yield AxiStreamWriter(bus_bits=bits, beat_bytes=size)
        for ports in (1, 2, 4):
            yield AxiWeightReaders(ports=ports, beat_bytes=20, bus_bits=64)
        yield AxiMatVec(PRESETS["micro"])
        if folder == "axi":
            yield AxiMatVec(PRESETS["line"])
            yield AxiTokenCore(CORE_PRESETS["small"])


def fingerprint(file: str) -> str:
    """Hash of the netlists of all components that contain the hardware of a source file."""
    total = hashlib.sha256()
    for component in _of(file.split("/")[1]):
        total.update(rtlil.convert(component, name="top", emit_src=False).encode())
    return total.hexdigest()


if __name__ == "__main__":
    print(json.dumps(fingerprint(sys.argv[1])))
