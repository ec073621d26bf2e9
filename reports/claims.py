"""Claims that made ternary models famous, each beside our figure and a verdict.

The wording is data, in ``claims.toml``. Each claim has a function here that computes its figures.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf, log2
from pathlib import Path

from ..golden.codes import CODES
from ..golden.network.bitnet_2b4t import ZERO_FRACTION
from ..sim.cost.datafiles import read_data
from ..sim.cost.designs import DESIGNS, Design
from ..sim.cost.energy import ternary_ratios
from ..sim.cost.formats import FORMATS, accumulator_bits
from ..sim.cost.memories import EFFICIENCY, Memory, find_dram
from ..sim.cost.model_shapes import GPT3, MODELS
from ..sim.cost.paper import paper_energy, paper_ratio
from ..sim.cost.profiles import find_profile
from ..sim.cost.system import estimate
from ..sim.cost.workload import ModelShape
from ..sim.gatelevel.table import LANES, load_table
from ..sim.tools.records import record

__all__ = ["QUALITY", "Claim", "claims"]

_FILE = Path(__file__).with_suffix(".toml")

#: Figures of a claim by the names in its templates.
_Figures = Mapping[str, float | str]

#: Mean benchmark score by model, in percent, from ``claims.toml``.
QUALITY: dict[str, float] = read_data(_FILE)["quality"]["percent"]

_BITNET, _BITNET_3B = MODELS["bitnet-2b4t"], MODELS["bitnet-3b"]
_GPT3_3B, _GPT3_7B = GPT3["gpt3-2.7b"], GPT3["gpt3-6.7b"]
_GPT3_13B, _GPT3_70B = GPT3["gpt3-13b"], GPT3["gpt3-70b"]

#: Bits of a sum of 2560 products of ternary weights and 8-bit activations.
_SUM_BITS = accumulator_bits(FORMATS["ternary-1.6"], 2560)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim and our finding.

    Parameters
    ----------
    claim : the claim, as it is made
    figure : our figures
    how : how the figures were computed
    verdict : begins with ``holds``, ``holds only if`` or ``does not hold``
    label : ``modelled``, ``measured`` or ``published``
    source : where the claim was made
    """

    claim: str
    figure: str
    how: str
    verdict: str
    label: str = "modelled"
    source: str


def _gigabytes(model: ModelShape, bits: float, *, embedding_bits: float = 16) -> float:
    """Return the size of all weights; embedding and head have bits of their own."""
    tables = model.parameters - model.linear_weights
    return (model.linear_weights * bits + tables * embedding_bits) / 8e9


def _memory_bound(weight_format: str) -> Design:
    """Make a design that memory alone bounds, and that reads weights once a step."""
    return replace(
        DESIGNS["array-1024"],
        config=None,
        macs_per_cycle=inf,
        attention_macs_per_cycle=inf,
        vector_elements_per_cycle=inf,
        weight_format=weight_format,
        head_format="fp16",
        kv_bits=16,
        pass_tokens=2**20,
    )


def _memory(gigabytes_per_second: float) -> Memory:
    """Make a memory of a bandwidth, with the energy of HBM2."""
    return Memory(
        name="any",
        gigabytes_per_second=gigabytes_per_second,
        dram=find_dram("hbm2"),
        source="a bandwidth to compare with",
    )


def _rate(model: ModelShape, weight_format: str, bandwidth: float, context: int = 512) -> float:
    """Return tokens per second at batch 1 where memory is the only bound."""
    design = _memory_bound(weight_format)
    return estimate(model, design, _memory(bandwidth), context=context).tokens_per_second


def _joules(model: ModelShape, weight_format: str, batch: int) -> float:
    """Return the energy of a token at 7 nm, weights and cache in HBM2."""
    design = replace(_memory_bound(weight_format), rows=16)
    result = estimate(model, design, _memory(100), batch=batch, profile=find_profile("jouppi7"))
    assert result.joules_per_token is not None
    return result.joules_per_token


def _pj(profile: str, *operations: str) -> float:
    """Return the energy of some operations together, in pJ."""
    return sum(find_profile(profile).figure(name).pj for name in operations)


def _bits_per_weight() -> _Figures:
    """Return the information of a trit and of 2B4T's weights, and the densest code."""
    nonzero = 1 - ZERO_FRACTION
    entropy = -ZERO_FRACTION * log2(ZERO_FRACTION) - nonzero * log2(nonzero / 2)
    densest = min(code.bits_per_trit for code in CODES.values() if code.zeros is None)
    return {"log2_3": log2(3), "entropy": entropy, "densest": densest, "zeros": ZERO_FRACTION}


def _compression() -> _Figures:
    """Return FP16's size over ternary sizes."""
    whole = _gigabytes(_BITNET, 16) / _gigabytes(_BITNET, 1.6)
    return {"matrices": 16 / 1.6, "most": 16 / log2(3), "whole": whole}


def _memory_ratio() -> _Figures:
    """Return FP16's size over two-bit size for three models, embedding included."""
    return {
        model.name.replace("-", "_"): _gigabytes(model, 16) / _gigabytes(model, 2.0)
        for model in (_BITNET_3B, _GPT3_13B, _GPT3_70B)
    }


def _speed() -> _Figures:
    """Return the rate at two bits over that of FP16 for two models and two contexts."""
    return {
        f"{name}_{context}": _rate(model, "ternary-2.0", 1000, context)
        / _rate(model, "fp16", 1000, context)
        for name, model in (("bitnet", _BITNET), ("gpt3", _GPT3_70B))
        for context in (512, 4096)
    }


def _matmul_energy() -> _Figures:
    """Return FP16's energy over ternary energy, by the paper's recipe and by others."""
    ternary = FORMATS["ternary-1.6"]
    table = load_table("asap7")
    measured = table.best(ternary.measured)
    fp16 = table.best("FP16")
    assert measured is not None
    assert fp16 is not None
    gate, charged = table.ratio(measured), table.ratio(measured, ports=True)
    assert gate is not None
    assert charged is not None
    new = ternary_ratios(find_profile("jouppi7"), (8, _SUM_BITS))
    return {
        "new": new[8],
        "old": ternary_ratios(find_profile("horowitz45"), (8,))[8],
        "wide": new[_SUM_BITS],
        "bits": _SUM_BITS,
        "gate": gate,
        "charged": charged,
        "code": ternary.measured.rpartition("-")[2],
        "lanes": LANES,
        "levels": measured.levels_per_stage,
        "fp16_levels": fp16.levels_per_stage,
        "clock": measured.clock_ghz,
        "moved_2": 16 / FORMATS["ternary-2.0"].weight_bits,
        "moved_1_6": 16 / ternary.weight_bits,
    }


def _against_fp32() -> _Figures:
    """Return FP32's energy over that of an 8-bit add."""
    return {"fp32": _pj("jouppi7", "fp32 mul", "fp32 add") / _pj("jouppi7", "int8 add")}


def _service() -> _Figures:
    """Return FP16's energy of a token over ternary energy, with memory and activation buffer."""
    ratios = {
        name: _joules(model, "fp16", batch) / _joules(model, "ternary-1.6", batch)
        for name, model, batch in (
            ("one", _BITNET, 1),
            ("many", _BITNET, 256),
            ("most", _GPT3_70B, 1),
        )
    }
    return {**ratios, "paper": paper_ratio(_BITNET)}


def _three_billion() -> _Figures:
    """Return sizes and rates of the 3B model."""
    needed = 100 / _rate(_BITNET_3B, "fp16", 1)
    return {
        "fp16_gb": _gigabytes(_BITNET_3B, 16),
        "int8_gb": _gigabytes(_BITNET_3B, 8, embedding_bits=8),
        "ternary_gb": _gigabytes(_BITNET_3B, 1.6, embedding_bits=0),
        "whole_gb": _gigabytes(_BITNET_3B, 1.6),
        "int8_rate": _rate(_BITNET_3B, "int8", needed),
        "ternary_rate": _rate(_BITNET_3B, "ternary-1.6", needed),
        "sustained": needed * EFFICIENCY["fabric"].share,
    }


def _seventy_billion() -> _Figures:
    """Return sizes of 70B ternary and 7B FP16, and the rate at equal bandwidth."""
    needed = 40 / _rate(_GPT3_7B, "fp16", 1)
    return {
        "ternary_gb": _gigabytes(_GPT3_70B, 1.6),
        "fp16_gb": _gigabytes(_GPT3_7B, 16),
        "rate": _rate(_GPT3_70B, "ternary-1.6", needed),
    }


def _no_operation() -> _Figures:
    """Return the share and the energy of the additions that remain."""
    return {
        "added": 1 - ZERO_FRACTION,
        "bits": _SUM_BITS,
        "add_pj": find_profile("jouppi7").integer_add(_SUM_BITS).pj,
        "fp16_pj": _pj("jouppi7", "fp16 mul", "fp16 add"),
    }


def _only_additions() -> _Figures:
    """Return the multiplications of a token that remain, in millions, beside its additions."""
    scalings = sum((linear.n + linear.k) * linear.active for linear in _BITNET.linears)
    attention = 2 * _BITNET.heads * _BITNET.head_size * _BITNET.layers * 512
    return {
        "scalings": scalings / 1e6,
        "attention": attention / 1e6,
        "additions": _BITNET.linear_weights / 1e9,
    }


def _ternary_activations() -> _Figures:
    """Return the accumulator's width and energy with ternary activations."""
    seven = find_profile("jouppi7")
    narrow = (2560).bit_length() + 1
    return {
        "narrow": narrow,
        "wide": _SUM_BITS,
        "ratio": seven.integer_add(_SUM_BITS).pj / seven.integer_add(narrow).pj,
    }


def _thirteen_billion() -> _Figures:
    """Return energy, size and rate of 13B ternary and 3B FP16."""
    return {
        "cheap": paper_energy(_GPT3_13B, bits=1).total,
        "dear": paper_energy(_GPT3_3B, bits=16).total,
        "ternary_gb": _gigabytes(_GPT3_13B, 1.6),
        "fp16_gb": _gigabytes(_GPT3_3B, 16),
        "ternary_rate": _rate(_GPT3_13B, "ternary-1.6", 1000),
        "fp16_rate": _rate(_GPT3_3B, "fp16", 1000),
    }


#: Function that computes the figures of each claim of ``claims.toml``.
_FIGURES: dict[str, Callable[[], _Figures]] = {
    "bits_per_weight": _bits_per_weight,
    "compression": _compression,
    "memory": _memory_ratio,
    "speed": _speed,
    "matmul_energy": _matmul_energy,
    "against_fp32": _against_fp32,
    "service": _service,
    "three_billion": _three_billion,
    "seventy_billion": _seventy_billion,
    "no_operation": _no_operation,
    "only_additions": _only_additions,
    "ternary_activations": _ternary_activations,
    "thirteen_billion": _thirteen_billion,
    "timing": dict,
}


def claims() -> Iterator[Claim]:
    """Yield the claims of ``claims.toml`` in order, with their figures computed."""
    for name, entry in read_data(_FILE)["claim"].items():
        wording = record(Claim, entry, f"{_FILE}: {name}")
        figures = _FIGURES[name]()
        texts = {one: text.format(**figures) for one, text in vars(wording).items()}
        yield replace(wording, **texts)
