"""Published systems: what is predicted for them, against what their authors measured."""

from dataclasses import dataclass, replace
from statistics import median

from .model_shapes import MODELS
from .system import DESIGNS, MEMORIES, estimate

__all__ = ["NOT_PREDICTED", "PUBLISHED", "Prediction", "PublishedRate", "predict", "summary"]


@dataclass(frozen=True, kw_only=True)
class PublishedRate:
    """Tokens per second that a publication reports.

    Parameters
    ----------
    system : what it was measured on
    model, design, memory : keys of ``MODELS``, ``DESIGNS`` and ``MEMORIES``
    rate : tokens per second, of all sequences
    context, batch, prompt, shared : as ``estimate`` takes them; ``shared`` sequences or positions
        share a pass over the weights
    assumptions : what the publication does not say, or what of the row is special
    source : of the rate
    counted : False where the inputs contain the answer
    """

    system: str
    model: str
    design: str
    memory: str
    rate: float
    context: int = 64
    batch: int = 1
    prompt: int | None = None
    shared: int = 1
    assumptions: str
    source: str
    counted: bool = True


_KV260 = "bitnet-kv260, docs/measurements.md"


_REPORT = "BitNet b1.58 2B4T report, arXiv 2504.12285, Table 1 (time per token)"


_LAPTOP = "i7-13800H laptop"


_LAPTOP_MEMORY = "memory not stated: LPDDR5-6400, 128 bits, the fastest that the CPU takes"


PUBLISHED = (
    PublishedRate(
        system="KV260, generation",
        model="bitnet-2b4t",
        design="kv260",
        memory="ddr4-2400x64",
        rate=16.78,
        assumptions="mean context 64 of its five prompts; vector operations one value a clock",
        source=_KV260,
    ),
    PublishedRate(
        system="KV260, prompt, one position a pass",
        model="bitnet-2b4t",
        design="kv260",
        memory="ddr4-2400x64",
        rate=19.74,
        prompt=40,
        assumptions="prompts of 40 tokens",
        source=_KV260,
    ),
    PublishedRate(
        system="KV260, prompt",
        model="bitnet-2b4t",
        design="kv260",
        memory="ddr4-2400x64",
        rate=28.78,
        prompt=18,
        shared=2,
        assumptions="prompts of 18 tokens; two passes over the weights for four positions",
        source=_KV260,
    ),
    PublishedRate(
        system="KV260, four sequences",
        model="bitnet-2b4t",
        design="kv260",
        memory="ddr4-2400x64",
        rate=23.97,
        batch=4,
        shared=2,
        assumptions="two passes over the weights for four sequences, as in its prompt",
        source="bitnet-kv260",
    ),
    PublishedRate(
        system="Arty A7, all but products on a soft CPU",
        model="bitnet-2b4t",
        design="ternfpga",
        memory="ddr3-1333x16",
        rate=1 / 8.84,
        assumptions="the soft CPU takes one value and one attention MAC a clock",
        source="ternfpga, bench/results/glue_measured.md: 884 M measured clocks at 100 MHz",
    ),
    PublishedRate(
        system="Arty A7, all in the fabric",
        model="bitnet-2b4t",
        design="ternfpga",
        memory="ddr3-1333x16",
        rate=1 / 3.30,
        assumptions="published as the sum of measured parts, the largest of which is the array's "
        "MACs per clock that are put in here: not counted",
        source="ternfpga, bench/results/glue_measured.md",
        counted=False,
    ),
    PublishedRate(
        system="TerEffic, one U280 with HBM",
        model="matmulfree-2.7b",
        design="tereffic-hbm",
        memory="hbm2",
        rate=727,
        assumptions="head in FP16 as in the checkpoint",
        source="arXiv 2502.16473",
    ),
    PublishedRate(
        system="TeLLMe v2, KV260",
        model="bitnet-large",
        design="tellme-v2",
        memory="ddr4-2400x64",
        rate=25,
        assumptions="1.6 bits per weight, head in FP16 at the fabric's bandwidth",
        source="arXiv 2510.15926",
    ),
    PublishedRate(
        system="Ryzen 9 5950X, bitnet.cpp",
        model="bitnet-2b4t",
        design="desktop-bitnet.cpp",
        memory="ddr4-3200x128",
        rate=28.4,
        context=128,
        assumptions="memory not stated: DDR4-3200, two channels, the fastest that the CPU takes",
        source="ternfpga, bench/results/cpu_baseline.md",
    ),
    PublishedRate(
        system=f"{_LAPTOP}, bitnet.cpp",
        model="bitnet-2b4t",
        design="laptop-bitnet.cpp",
        memory="lpddr5-6400x128",
        rate=1 / 0.029,
        assumptions=_LAPTOP_MEMORY,
        source=_REPORT,
    ),
    *(
        PublishedRate(
            system=f"{_LAPTOP}, BF16",
            model=model,
            design="laptop-bf16",
            memory="lpddr5-6400x128",
            rate=1 / seconds,
            assumptions=_LAPTOP_MEMORY,
            source=_REPORT,
        )
        for model, seconds in (
            ("llama3.2-1b", 0.048),
            ("gemma3-1b", 0.041),
            ("qwen2.5-1.5b", 0.065),
            ("smollm2-1.7b", 0.067),
            ("minicpm-2b", 0.124),
        )
    ),
    PublishedRate(
        system="Ryzen AI MAX+ 395, bitnet.cpp",
        model="bitnet-2b4t",
        design="laptop-bitnet.cpp",
        memory="lpddr5x-8000x256",
        rate=70.66,
        context=128,
        assumptions="all of its 256-bit memory within reach of the CPU",
        source="parrishcorcoran/MedusaBitNet-2B-4T, benchmark_results.json, vanilla",
    ),
    PublishedRate(
        system="four Cortex-A53 of a KV260, bitnet.cpp",
        model="bitnet-2b4t",
        design="a53-bitnet.cpp",
        memory="ddr4-2400x64",
        rate=2.77,
        assumptions="arithmetic at the rate of its own prompt, 4.49 tokens/s",
        source=_KV260,
    ),
    PublishedRate(
        system="RTX 3060, BF16",
        model="qwen2.5-1.5b",
        design="gpu-bf16",
        memory="gddr6-15000x192",
        rate=57.7,
        context=128,
        assumptions="transformers, one sequence",
        source="ternfpga, bench/results/gpu_baseline.md",
    ),
    PublishedRate(
        system="RTX 3060, BF16",
        model="bitnet-2b4t",
        design="gpu-bf16",
        memory="gddr6-15000x192",
        rate=23.5,
        context=128,
        assumptions="transformers, one sequence; quantization of weights in each step not modelled",
        source="ternfpga, bench/results/gpu_baseline.md",
    ),
)


#: Published systems that are left out, and why.
NOT_PREDICTED = {
    "TerEffic, 370M on chip, 16300 tokens/s": "bound by its arrays, whose size is not at hand",
    "VitaLLM, BitNet 3B, 70.7 tokens/s": "size of its arrays and its memory are not at hand",
    "TeLLMe v2, prompt, 143 tokens/s": "bound by its array, whose size is not at hand",
    "TOM, BitNet 2B, 3306 tokens/s": "second hand, and its ROM's bandwidth is not at hand",
}


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A published rate and ours.

    Parameters
    ----------
    row : what was published
    rate : predicted tokens per second
    bound : what takes the most time
    """

    row: PublishedRate
    rate: float
    bound: str

    @property
    def error(self) -> float:
        """Predicted over published, minus one."""
        return self.rate / self.row.rate - 1


def predict() -> list[Prediction]:
    """A prediction for each published rate, with one set of constants."""
    predictions = []
    for row in PUBLISHED:
        design = DESIGNS[row.design]
        if design.config is not None:
            design = replace(design, config=replace(design.config, tokens=row.shared))
        result = estimate(
            MODELS[row.model],
            design,
            MEMORIES[row.memory],
            context=row.context,
            batch=row.batch,
            prompt=row.prompt,
        )
        rate = result.tokens_per_second
        predictions.append(Prediction(row=row, rate=rate, bound=result.bound))
    return predictions


def summary(predictions: list[Prediction]) -> dict[str, float]:
    """Counted rows, their median absolute error, and that of one row per system.

    Several rows of one system are alike: for the last figure each system counts by its median.
    """
    counted = [one for one in predictions if one.row.counted]
    systems: dict[str, list[float]] = {}
    for one in counted:
        systems.setdefault(one.row.system.partition(",")[0], []).append(abs(one.error))
    return {
        "rows": len(counted),
        "median_absolute_error": median(abs(one.error) for one in counted),
        "systems": len(systems),
        "median_over_systems": median(median(errors) for errors in systems.values()),
    }
