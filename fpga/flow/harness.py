"""Components that serve only to measure area: a data path alone, and a shell with few pins."""

from amaranth.hdl import Cat, Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...hw.config import MatVecConfig
from ...hw.engine.dot import DotProduct, Operands, add_or_subtract
from ...hw.engine.weight_decoder import BeatDecoder

__all__ = ["BareDotProduct", "SerialPins"]


class BareDotProduct(wiring.Component):
    """A dot product with its weight decoder and its accumulator: an engine's data path alone.

    Designs of others are often published as such a bare data path, without buffers and control.
    This component is what to compare with them. It has the registers that the engine has: behind
    the weights, in the tree of adders, and behind the accumulator.

    Latency: ``1 + config.dot_latency`` cycles from a beat of weights to its sum in ``total``.
    Throughput: a beat of weights per cycle.

    Parameters
    ----------
    config : configuration of the engine, with one row and one token

    Members
    -------
    packed : In(8 · weight_bytes); a beat of weights, taken into a register
    activations : In(lanes signed values); the activations of the beat, two cycles later
    valid : In(1); the sum that the tree delivers in this cycle counts
    last : In(1); with ``valid``: it ends an accumulation
    total : Out(acc_width, signed); the accumulated sum, that of this cycle included

    Raises
    ------
    TypeError
        If ``config`` is not a ``MatVecConfig``.
    ValueError
        If it has more than one row or token.
    """

    def __init__(self, config: MatVecConfig) -> None:
        if not isinstance(config, MatVecConfig):
            raise TypeError(f"config must be a MatVecConfig, not {config!r}")
        if config.rows != 1 or config.tokens != 1:
            raise ValueError(f"config must have one row and one token, not {config}")
        self._config = config
        activations = data.ArrayLayout(data.ArrayLayout(signed(config.act_bits), config.lanes), 1)
        super().__init__(
            {
                "packed": In(8 * config.weight_bytes),
                "activations": In(activations),
                "valid": In(1),
                "last": In(1),
                "total": Out(signed(config.acc_width)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.decoder = decoder = BeatDecoder(code=config.code, count=config.lanes)
        m.submodules.dot = dot = DotProduct(
            lanes=config.lanes,
            tokens=1,
            act_bits=config.act_bits,
            levels_per_stage=config.levels_per_stage,
            target=config.target,
            operands=Operands.of(config),
        )
        packed = Signal(8 * config.weight_bytes, reset_less=True)
        accumulator = Signal(config.acc_width)
        m.d.sync += packed.eq(self.packed)
        m.d.comb += [
            decoder.packed.eq(packed),
            dot.zero.eq(decoder.zero),
            dot.negative.eq(decoder.negative),
            dot.activations.eq(self.activations),
            self.total.eq(
                add_or_subtract(accumulator, dot.sums[0], dot.subtract, config.acc_width)
            ),
        ]
        with m.If(self.valid & self.last):
            m.d.sync += accumulator.eq(0)
        with m.Elif(self.valid):
            m.d.sync += accumulator.eq(self.total)
        return m


class SerialPins(wiring.Component):
    """A component behind three pins, for devices with fewer pins than it has ports.

    A shift register drives its inputs. Its outputs are captured in another, and shifted out. The
    registers keep synthesis from removing the component, and give every path in it a beginning and
    an end; they add one flip-flop per input bit and one per output bit to its area.

    Latency: as many cycles as the component has input bits until they are all set; from ``capture``
    on an output bit per cycle. Throughput: a bit per cycle in each direction.

    Parameters
    ----------
    component : the component

    Members
    -------
    i : In(1); the next input bit
    capture : In(1); capture the outputs
    o : Out(1); the next output bit

    Raises
    ------
    TypeError
        If ``component`` is no component.
    """

    def __init__(self, component: wiring.Component) -> None:
        if not isinstance(component, wiring.Component):
            raise TypeError(f"component must be a wiring.Component, not {component!r}")
        self._component = component
        super().__init__({"i": In(1), "capture": In(1), "o": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.component = component = self._component
        inputs: list[Value] = []
        outputs: list[Value] = []
        for _, member, value in component.signature.flatten(component):
            plain = value.as_value() if hasattr(value, "as_value") else value
            (inputs if member.flow == In else outputs).append(plain)
        size = sum(len(value) for value in inputs)
        shift = Signal(size, reset_less=True)
        m.d.sync += shift.eq(Cat(shift[1:], self.i))
        m.d.comb += Cat(*inputs).eq(shift)
        result = Signal(sum(len(value) for value in outputs), reset_less=True)
        with m.If(self.capture):
            m.d.sync += result.eq(Cat(*outputs))
        with m.Else():
            m.d.sync += result.eq(result[1:])
        m.d.comb += self.o.eq(result[0])
        return m
