"""Components that exist to be measured: a data path alone, and a harness for few pins."""

from amaranth.hdl import Cat, Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...hw.config import MatVecConfig
from ...hw.engine.dot import DotProduct, add_or_subtract
from ...hw.engine.weight_decoder import BeatDecoder

__all__ = ["BareDotProduct", "SerialPins"]


class BareDotProduct(wiring.Component):
    """A dot product, its decoder and its accumulator: an engine's data path without the rest.

    Throughput: a beat of weights per clock.

    Parameters
    ----------
    config : of the engine it is the data path of, with one row and one token

    Members
    -------
    packed : In; a beat of weights, taken in a register
    activations : In; the beat's activations, two clocks later
    valid, last : In; of the sum that the tree delivers now: it counts, it ends an accumulation
    total : Out; the accumulated sum, that of this clock included
    """

    def __init__(self, config: MatVecConfig) -> None:
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
    """A component behind two pins, for devices with fewer pins than it has ports.

    Its inputs are a shift register, its outputs are captured and shifted out.
    """

    def __init__(self, component: wiring.Component) -> None:
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
