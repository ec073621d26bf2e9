"""Published energies per MAC, and their figure."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ...sim.cost.datafiles import read_data
from ...sim.cost.formats import FORMATS
from ...sim.cost.model_shapes import MODELS
from ...sim.cost.profiles import find_profile
from ...sim.tools.records import record
from .style import Drawing, looks, note

__all__ = ["MacEnergy", "draw_mac_energies", "mac_energies"]

_FILE = Path(__file__).with_name("mac_energies.toml")


@dataclass(frozen=True, kw_only=True)
class MacEnergy:
    """Published energy of a MAC, in the publication's unit; two operations are one MAC.

    Parameters
    ----------
    design, node, kind, words, source : see ``mac_energies.toml``
    tops_per_watt, fj_per_operation, pj_per_mac : one of them; None where it is not published
    milliwatts, tokens_per_second, model : or power and rate of a model, whose linear weights are
        the MACs of a token
    um2_per_mac : area; None where it is not published
    """

    design: str
    node: str
    kind: str
    words: str
    source: str
    tops_per_watt: float | None = None
    fj_per_operation: float | None = None
    pj_per_mac: float | None = None
    milliwatts: float | None = None
    tokens_per_second: float | None = None
    model: str | None = None
    um2_per_mac: float | None = None

    @property
    def pj(self) -> float:
        """Energy per MAC in pJ."""
        if self.pj_per_mac is not None:
            return self.pj_per_mac
        if self.fj_per_operation is not None:
            return 2e-3 * self.fj_per_operation
        if self.tops_per_watt is not None:
            return 2.0 / self.tops_per_watt
        assert self.milliwatts is not None, self.design
        assert self.tokens_per_second is not None, self.design
        macs = MODELS[str(self.model)].linear_weights
        return self.milliwatts * 1e9 / self.tokens_per_second / macs


@cache
def mac_energies() -> tuple[MacEnergy, ...]:
    """Read the published energies.

    Raises
    ------
    EstimateError
        If an entry has an unknown key, or lacks one.
    """
    return tuple(
        record(MacEnergy, entry, f"{_FILE}: {entry.get('design')}")
        for entry in read_data(_FILE)["mac"]
    )


def _modelled() -> list[MacEnergy]:
    """Model the arithmetic of three formats from published figures, for comparison."""
    profile = find_profile("jouppi7")
    return [
        MacEnergy(
            design=f"{looks('formats')[name]['label']}: arithmetic only",
            node="7 nm",
            kind=kind,
            pj_per_mac=sum(figure.pj for figure in profile.mac(FORMATS[name], 2560).values()),
            words="modelled",
            source="Jouppi et al., ISCA 2021",
        )
        for name, kind in (("fp16", "float"), ("int8", "int8"), ("ternary-1.6", "ternary"))
    ]


def draw_mac_energies() -> Drawing:
    """Draw the published energies, the largest first, and those of modelled arithmetic."""
    drawing = Drawing("published_macs")
    axes, kinds = drawing.axes(), looks("kinds")
    points = sorted([*mac_energies(), *_modelled()], key=lambda point: -point.pj)
    for place, point in enumerate(points):
        look = kinds[point.kind]
        face = "none" if point.words == "modelled" else look["color"]
        axes.plot(
            [point.pj], [place], **{**look, "label": None}, markersize=8, markerfacecolor=face
        )
        text = f"{point.pj:#.3g} pJ, {point.node}"
        note(axes, text, (point.pj, place), xytext=(9, 0), va="center")
        drawing.rows.append(
            {
                "work": point.design,
                "node": point.node,
                "kind": point.kind,
                "pj_per_mac": point.pj,
                "as_published": point.words,
            }
        )
    axes.set_yticks(range(len(points)), labels=[point.design for point in points])
    for look in kinds.values():
        axes.plot([], [], **look)
    axes.legend(title="kind of MAC; hollow: modelled", loc="lower left")
    return drawing
