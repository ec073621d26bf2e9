"""Assumptions of an estimate, in words: the model, the design and the memory."""

from math import inf

from .designs import Design, sustained
from .memories import Memory
from .workload import ModelShape

__all__ = ["capacity_text", "design_text", "memory_text", "model_text"]


def model_text(shape: ModelShape) -> str:
    """Sizes of a model, and where they are from."""
    return (
        f"{shape.name}: {shape.linear_weights / 1e9:.3f} G weights in linear layers, "
        f"{shape.parameters / 1e9:.3f} G in all ({shape.source})"
    )


def design_text(design: Design) -> str:
    """Rate, buffer and number formats of a design, and where they are from."""
    tokens = design.shared_tokens
    return (
        f"{design.full_rate:g} MACs per cycle at {design.clock_mhz:g} MHz, "
        f"activation buffer counted as {design.buffer_kilobytes} KB of SRAM, "
        f"{tokens} activation vector{'s' * (tokens > 1)} per pass over the weights, "
        f"head in {design.head.name}, {design.kv_bits}-bit cache ({design.source})"
    )


def memory_text(design: Design, memory: Memory) -> str:
    """Rate of a memory, and the share of it that a design gets."""
    rate = memory.gigabytes_per_second
    if rate == inf:
        return f"{memory.name} ({memory.source})"
    efficiency, reason = sustained(design, memory)
    return f"{memory.name}: {rate:g} GB/s ({memory.source}), of which {efficiency:.0%} ({reason})"


def capacity_text(memory: Memory) -> str:
    """Capacity of a memory."""
    return "not limited" if memory.gigabytes == inf else f"{memory.gigabytes:g} GB"
