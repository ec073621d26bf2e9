"""Predicted rates of published systems, beside the rates that their authors measured."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from .datafiles import DATA, read_data, record
from .designs import find_design
from .memories import find_memory
from .model_shapes import find_model
from .system import estimate

__all__ = ["NOT_PREDICTED", "Prediction", "PublishedRate", "predict", "summary"]

_FILE = DATA / "published.toml"


@dataclass(frozen=True, kw_only=True)
class PublishedRate:
    """Tokens per second that a publication reports.

    Parameters
    ----------
    system : the system that was measured
    model, design, memory : keys of ``MODELS``, ``DESIGNS`` and ``MEMORIES``
    rate : tokens per second, of all sequences
    context, batch, prompt : as for ``estimate``
    shared : sequences or positions that share a pass over the weights
    assumptions : conditions that the publication does not state, or that are special to the row
    source : publication of the rate
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


def _rate(entry: Mapping[str, Any]) -> PublishedRate:
    """Make a published rate from its entry; some publications give the time of a token."""
    values = dict(entry)
    if "seconds_per_token" in values:
        values["rate"] = 1 / values.pop("seconds_per_token")
    return record(PublishedRate, values, f"{_FILE}: {entry.get('system')}")


#: Published rates that estimates are compared with, from ``data/published.toml``.
_PUBLISHED_RATES = tuple(_rate(entry) for entry in read_data(_FILE)["rate"])

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
    """

    row: PublishedRate
    rate: float
    bound: str

    @property
    def error(self) -> float:
        """Estimated rate over published rate, minus one."""
        return self.rate / self.row.rate - 1


def predict() -> list[Prediction]:
    """Estimate each published rate, with one set of constants."""
    predictions = []
    for row in _PUBLISHED_RATES:
        design = find_design(row.design)
        if design.config is not None:
            design = replace(design, config=replace(design.config, tokens=row.shared))
        result = estimate(
            find_model(row.model),
            design,
            find_memory(row.memory),
            context=row.context,
            batch=row.batch,
            prompt=row.prompt,
        )
        predictions.append(Prediction(row=row, rate=result.tokens_per_second, bound=result.bound))
    return predictions


def summary(predictions: list[Prediction]) -> dict[str, float]:
    """Summarize the errors of predictions.

    Parameters
    ----------
    predictions : at least one counted row

    Returns
    -------
    The number of counted rows and their median absolute error; the number of systems and the median
    over them. Rows of one system are alike: a system counts by the median of its rows.
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
