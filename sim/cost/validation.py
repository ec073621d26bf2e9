"""Predicted rates of published systems, beside the rates that their authors measured."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import median
from typing import Any

from ...golden.checks import check_integer, check_number
from ..tools.errors import EstimateError, estimate_errors
from ..tools.records import record
from .datafiles import DATA, find, read_data
from .designs import Design, find_design
from .memories import find_memory
from .model_shapes import MODELS
from .profiles import find_profile
from .system import estimate

__all__ = [
    "NOT_PREDICTED",
    "PUBLISHED",
    "Group",
    "Prediction",
    "PublishedRate",
    "predict",
    "summary",
]

_FILE = DATA / "published.toml"


class Group(StrEnum):
    """Part that a published system has in the validation."""

    FITTED = "fitted"
    CHECKED = "checked"
    FOUND = "found"

    @property
    def meaning(self) -> str:
        """Meaning of the group, in words."""
        return {
            Group.FITTED: "systems that the constants are fitted on",
            Group.CHECKED: "systems that were named before, and that no constant is fitted on",
            Group.FOUND: "systems that were looked up after groups, inputs and form were fixed",
        }[self]


@dataclass(frozen=True, kw_only=True)
class PublishedRate:
    """Tokens per second that a publication reports.

    Parameters
    ----------
    group : a value of ``Group``
    system : the system that was measured
    model, design, memory : keys of ``MODELS``, ``DESIGNS`` and ``MEMORIES``
    rate : tokens per second, of all sequences
    context, batch, prompt : as for ``estimate``
    shared : sequences or positions that share a pass over the weights
    cores : threads that ran; None for all cores of the design
    assumptions : conditions that the publication does not state, or that are special to the row
    source : publication of the rate
    counted : False where the inputs contain the answer
    joules_per_token, joules_source : published energy of the whole system, and its publication

    Raises
    ------
    TypeError
        If a number is of the wrong kind.
    EstimateError
        If a name is unknown, or a number is not legal.
    """

    group: str
    system: str
    model: str
    design: str
    memory: str
    rate: float
    context: int = 64
    batch: int = 1
    prompt: int | None = None
    shared: int = 1
    cores: int | None = None
    assumptions: str
    source: str
    counted: bool = True
    joules_per_token: float | None = None
    joules_source: str | None = None

    def __post_init__(self) -> None:
        try:
            find("group", self.group, {one.value: one for one in Group})
            find("model", self.model, MODELS)
            find_memory(self.memory)
            if self.cores is not None and find_design(self.design).processor is None:
                raise EstimateError(f"design {self.design} is no processor; omit the key 'cores'")
            with estimate_errors():
                check_number("rate", self.rate, 1e-6, 1e9)
                for name in ("context", "batch", "prompt", "shared", "cores"):
                    if getattr(self, name) is not None:
                        check_integer(name, getattr(self, name), 1, 2**24)
                if self.joules_per_token is not None:
                    check_number("joules_per_token", self.joules_per_token, 1e-9, 1e9)
        except EstimateError as error:
            raise EstimateError(f"system {self.system!r}: {error}") from None

    @property
    def ran(self) -> Design:
        """The design as it ran: with the threads and the shared passes of the row."""
        design = find_design(self.design)
        if design.config is not None:
            design = replace(design, config=replace(design.config, tokens=self.shared))
        if self.cores is not None and design.processor is not None:
            design = replace(design, processor=replace(design.processor, cores=self.cores))
        return design


def _rate(entry: Mapping[str, Any]) -> PublishedRate:
    """Make a published rate from its entry; some publications give the time of a token."""
    values = dict(entry)
    if "seconds_per_token" in values:
        values["rate"] = 1 / values.pop("seconds_per_token")
    return record(PublishedRate, values, f"{_FILE}: {entry.get('system')}")


#: Published rates that estimates are compared with, from ``data/published.toml``.
PUBLISHED = tuple(_rate(entry) for entry in read_data(_FILE)["rate"])

#: Published systems without a prediction, and the reason.
NOT_PREDICTED: dict[str, str] = {
    entry["system"]: entry["reason"] for entry in read_data(_FILE)["not_predicted"]
}


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A published rate and the estimated one.

    Parameters
    ----------
    row : the published rate
    rate : estimated tokens per second
    bound : part of the step that takes the most time
    joules_per_token : estimated energy of arithmetic and memory, a lower bound, with the profile
        ``jouppi7``
    """

    row: PublishedRate
    rate: float
    bound: str
    joules_per_token: float | None

    @property
    def error(self) -> float:
        """Estimated rate over published rate, minus one."""
        return self.rate / self.row.rate - 1


def predict(rows: Iterable[PublishedRate] = PUBLISHED) -> list[Prediction]:
    """Estimate published rates, with one set of constants.

    Parameters
    ----------
    rows : the published rates

    Raises
    ------
    EstimateError
        If a system cannot be estimated.
    """
    predictions = []
    for row in rows:
        result = estimate(
            MODELS[row.model],
            row.ran,
            find_memory(row.memory),
            context=row.context,
            batch=row.batch,
            prompt=row.prompt,
            profile=find_profile("jouppi7"),
        )
        predictions.append(
            Prediction(
                row=row,
                rate=result.tokens_per_second,
                bound=result.bound,
                joules_per_token=result.joules_per_token,
            )
        )
    return predictions


def summary(predictions: list[Prediction]) -> dict[str, dict[str, float]]:
    """Summarize the errors of predictions, for each group that has a counted row.

    Returns
    -------
    By group, the number of counted rows and their median absolute error; the number of systems and
    the median over them. Rows of one system are alike: a system, which is what stands before the
    comma, counts by the median of its rows.
    """
    groups = {}
    for group in Group:
        systems: dict[str, list[float]] = {}
        for one in predictions:
            if one.row.counted and one.row.group == group:
                systems.setdefault(one.row.system.partition(",")[0], []).append(abs(one.error))
        if systems:
            errors = [error for some in systems.values() for error in some]
            groups[group.value] = {
                "rows": len(errors),
                "median_absolute_error": median(errors),
                "systems": len(systems),
                "median_over_systems": median(median(some) for some in systems.values()),
            }
    return groups
