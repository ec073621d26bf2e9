"""Offsets of tokens and positions in memory, which ``SETUP`` computes once for each pass."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data

from .config import K_MAX, TokenConfig
from .element import ELEMENT
from .passes import Pass
from .tokens import of_token

__all__ = ["Offsets", "Step", "multiply"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """State of the sequencer.

    Parameters
    ----------
    multiplies : it waits for the products
    fetches : the next instruction begins, for the first token
    repeats : the same instruction begins again, for the next token
    number : number of the token
    """

    multiplies: Value
    fetches: Value
    repeats: Value
    number: Value


@dataclass(frozen=True, kw_only=True)
class Offsets:
    """Offsets of the present token, and constants of the model.

    Parameters
    ----------
    embedding : bytes from the row of token 0 to the token's
    angles, cache : bytes from the angles and the cached row of position 0 to the position's
    cache_bytes : bytes of a row in the cache
    epsilon, kappa : constants of the norms and of the scores, elements
    refused : the model has no such token, position or k
    done : the products of this token are known
    """

    embedding: Value
    angles: Value
    cache: Value
    cache_bytes: Value
    epsilon: Value
    kappa: Value
    refused: Value
    done: Value


def multiply(m: Module, config: TokenConfig, run: Pass, setup: data.View, step: Step) -> Offsets:
    """Multiply each token and the first position by their strides, a bit per cycle.

    ``offset = factor · stride``, from the lowest bit on: once per token needs no multiplier.

    Parameters
    ----------
    m : module that gets the logic
    config : configuration of the core
    run : the pass
    setup : the instruction ``SETUP``, while the products are computed
    step : what the sequencer does
    """
    token = run.token(step.number)
    strides = (setup.embedding_bytes, setup.angle_bytes, setup.cache_bytes)
    factors = (token, run.position, run.position)
    names = ("embedding_offset", "angle_offset", "cache_offset")
    offsets = [Signal(config.address_bits, name=name) for name in names]
    addends = [Signal(config.address_bits, name=f"addend{index}") for index in range(3)]
    rests = [Signal(len(factor), name=f"rest{i}") for i, factor in enumerate(factors)]
    epsilon, kappa = Signal(ELEMENT), Signal(ELEMENT)
    cache_bytes = Signal(config.address_bits)
    begun, refused, done = Signal(), Signal(), Signal()
    with m.If(step.multiplies):
        m.d.sync += begun.eq(1)
        for offset, addend, rest in zip(offsets, addends, rests, strict=True):
            with m.If(begun):
                m.d.sync += [
                    offset.eq(offset + Mux(rest[0], addend, 0)),
                    addend.eq(addend << 1),
                    rest.eq(rest >> 1),
                ]
        with m.If(~begun):
            for index in range(3):
                m.d.sync += [
                    offsets[index].eq(0),
                    addends[index].eq(strides[index]),
                    rests[index].eq(factors[index]),
                ]
            m.d.sync += [
                Value.cast(epsilon).eq(setup.epsilon[8:]),
                Value.cast(kappa).eq(setup.kappa[8:]),
                cache_bytes.eq(setup.cache_bytes),
            ]
            beyond = (token >= setup.vocabulary) | (run.position_of(run.others) >= setup.context)
            with m.If(beyond | (run.k > K_MAX) | (run.k > setup.vocabulary)):
                m.d.comb += refused.eq(1)
                m.d.sync += begun.eq(0)
        with m.Elif(~Cat(rests).any()):
            m.d.comb += done.eq(1)
            m.d.sync += begun.eq(0)
    embedding, angles, cache = offsets
    if config.tokens > 1:
        embedding = _embeddings(m, run, done, embedding, step)
        angles = _running(m, done, angles, setup.angle_bytes, step)
        cache = _running(m, done, cache, setup.cache_bytes, step)
    return Offsets(
        embedding=embedding, angles=angles, cache=cache, cache_bytes=cache_bytes, epsilon=epsilon,
        kappa=kappa, refused=refused, done=done,
    )  # fmt: skip


def _embeddings(m: Module, run: Pass, done: Value, product: Signal, step: Step) -> Value:
    """Keep the product of each token, and return that of the present one."""
    kept = [Signal.like(product, name=f"embedding{place}") for place in range(len(run.tokens))]
    with m.If(done):
        for place, one in enumerate(kept):
            with m.If(step.number == place):
                m.d.sync += one.eq(product)
    return of_token(kept, step.number)


def _running(m: Module, done: Value, product: Signal, stride: Value, step: Step) -> Signal:
    """Offset of the present token's position, which is a stride behind the position before."""
    kept, offset = Signal.like(product), Signal.like(product)
    with m.If(done):
        m.d.sync += kept.eq(stride)
    with m.If(step.fetches):
        m.d.sync += offset.eq(product)
    with m.Elif(step.repeats):
        m.d.sync += offset.eq(offset + kept)
    return offset
