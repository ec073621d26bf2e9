"""Options of commands as frozen dataclasses, checked by one set of rules.

``command`` registers a function that takes one ``Options`` as a typer command. ``option`` and
``argument`` are its fields: default, help and legal range. Values are converted here
and not by typer: its messages do not name the rule and the remedy in one line, and it imports
pydantic for them, which takes longer than an estimate.
"""

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, TypeVar, dataclass_transform, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from ..golden.errors import TrilithError

__all__ = [
    "Group",
    "HiddenAct",
    "I2sLayout",
    "I2sOptions",
    "JsonOptions",
    "OptionError",
    "Options",
    "Preset",
    "Quantize",
    "argument",
    "command",
    "engine_fields",
    "force_option",
    "given_fields",
    "new_app",
    "option",
    "parse_list",
]

_Function = TypeVar("_Function", bound=Callable[..., bool | None])


class OptionError(TrilithError, ValueError):
    """An option or an argument of the command line is wrong."""


#: Names of engines; ``trilith.hw.config.PRESETS`` has the same.
Preset = StrEnum("Preset", ["MICRO", "LINE", "BLOCK", "BITNET"])
#: Activations that a GGUF file may leave unsaid; ``gguf_names.ACTIVATIONS`` has the same.
HiddenAct = StrEnum("HiddenAct", ["SILU", "RELU2"])
#: Quantization of float weights.
Quantize = StrEnum("Quantize", ["ABSMEAN"])
#: Layouts of I2_S; ``trilith.golden.checkpoint.i2_s.I2SLayout`` has the same.
I2sLayout = StrEnum("I2sLayout", ["AUTO", "BLOCK128", "BLOCK64", "ROWS4"])


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Options:
    """Options of a command: each subclass is a frozen dataclass of its fields."""

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, kw_only=True)(cls)


def _field(default: Any, info: Any) -> Any:
    metadata = {"parameter": info}
    return field(metadata=metadata) if default is ... else field(default=default, metadata=metadata)


def option(default: Any, text: str, *names: str, **settings: Any) -> Any:
    """Make a dataclass field that is an option of the command line.

    Parameters
    ----------
    default : value where the option is not given; ``...`` for an option that must be given
    text : the help
    names : declarations such as ``--json``; by default the field's name
    settings : arguments of ``typer.Option``; ``min`` and ``max`` are the legal range
    """
    settings.setdefault("show_default", default not in (..., None, False))
    return _field(default, typer.Option(*names, help=text, **settings))


def argument(default: Any, text: str, **settings: Any) -> Any:
    """Make a dataclass field that is a positional argument; the parameters are as in ``option``."""
    return _field(default, typer.Argument(help=text, **settings))


def force_option() -> Any:
    """Make the option of every command that writes files under a name that its user gives."""
    return option(False, "Replace files that exist, but no folder.", "--force")


class JsonOptions(Options):
    """Options of a command that prints figures."""

    as_json: bool = option(False, "Print one JSON value instead of text.", "--json")


class I2sOptions(JsonOptions):
    """Options of a command that reads a checkpoint, which may be a GGUF file."""

    i2s_layout: I2sLayout = option(
        I2sLayout.AUTO,
        "Layout of I2_S in a GGUF file, by the build of bitnet.cpp that wrote it: block128 (x86), "
        "block64 (ARM) or rows4 (x86 without ACT_PARALLEL). auto: block128, unless the weights "
        "are clearly in another one.",
    )


def new_app(text: str | None = None) -> typer.Typer:
    """Make the typer application of a verb; with a text of help, of a verb with commands."""
    return typer.Typer(
        cls=Group,
        help=text,
        no_args_is_help=text is not None,
        add_completion=False,
        pretty_exceptions_enable=False,
    )


def _choices(kind: type[StrEnum]) -> str:
    """List the values of an enumeration: ``a, b or c``."""
    *others, last = kind
    return f"{', '.join(others)} or {last}" if others else last


def _convert(kind: type, name: str, text: str) -> Any:
    """Convert an option's text to a value of its type."""
    if issubclass(kind, StrEnum):
        if text not in [str(choice) for choice in kind]:
            raise OptionError(f"{name} must be {_choices(kind)}, not {text!r}")
        return kind(text)
    if kind not in (int, float):
        return kind(text)
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        noun = "an integer" if kind is int else "a finite number"
        raise OptionError(f"{name} must be {noun}, not {text!r}")
    return value


def _check_range(name: str, value: Any, low: float | None, high: float | None) -> None:
    if low is not None and high is not None and not low <= value <= high:
        raise OptionError(f"{name} must be from {low} to {high}, not {value}")
    if low is not None and value < low:
        raise OptionError(f"{name} must be {low} or more, not {value}")


def _process(parameter: Any, kind: type, ctx: Any, value: Any) -> Any:
    """Do what click's ``process_value`` does: convert the text, or the texts, of a parameter."""
    named = parameter.param_type_name == "option"
    name = max(parameter.opts, key=len) if named else parameter.name.upper()
    if value is None or value == ():
        if parameter.required:
            legal = _choices(kind) if issubclass(kind, StrEnum) else "it"
            raise OptionError(f"{name} is missing: give {legal}")
        return value
    many = isinstance(value, tuple | list)
    values = [
        _convert(kind, name, one) if isinstance(one, str) else one
        for one in (value if many else (value,))
    ]
    for one in values:
        _check_range(name, one, parameter.min, parameter.max)
    return values if many else values[0]


def _plain(annotation: Any) -> type:
    """Find the type of one value: int in ``list[int] | None``."""
    inner = [one for one in get_args(annotation) if one is not type(None)]
    return _plain(inner[0]) if inner else annotation


class _QuickHelp:
    """A command whose ``--help`` is a flag that needs no conversion, and so no pydantic."""

    def get_help_option(self, ctx: Any) -> Any:
        """Make the option ``--help``."""
        found = super().get_help_option(ctx)  # type: ignore[misc]
        if found is not None:
            found.process_value = lambda ctx, value: found.callback(ctx, found, bool(value))
        return found


class Group(_QuickHelp, TyperGroup):
    """A group of commands."""


class _Command(_QuickHelp, TyperCommand):
    """A command whose values are converted by the rules of this module."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        kinds = get_type_hints(self.callback) if self.callback else {}
        for parameter in self.params:
            if parameter.name in kinds:
                kind = _plain(kinds[parameter.name])
                parameter.process_value = partial(_process, parameter, kind)


def command(app: typer.Typer, name: str | None = None) -> Callable[[_Function], _Function]:
    """Register a function of one ``Options``, ``options``, as a command of a typer application.

    If the function returns True, something has failed, and the command ends with status 1.

    Parameters
    ----------
    app : the application
    name : the command's name; by default the function's
    """

    def register(function: _Function) -> _Function:
        kind = get_type_hints(function)["options"]
        kinds = get_type_hints(kind)

        def run(**values: Any) -> None:
            if function(kind(**values)):
                raise typer.Exit(1)

        parameters = []
        for one in sorted(fields(kind), key=lambda one: one.name == "as_json"):
            info = one.metadata["parameter"]
            if kinds[one.name] is bool and not info.param_decls and info.default is ...:
                # Without a declaration, typer would add --no-NAME.
                info.default = f"--{one.name.replace('_', '-')}"
            parameters.append(
                inspect.Parameter(
                    one.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    annotation=Annotated[kinds[one.name], info],
                    default=inspect.Parameter.empty if one.default is MISSING else one.default,
                )
            )
        run.__name__, run.__doc__ = function.__name__, _unwrapped(inspect.getdoc(function) or "")
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        run.__dict__["__signature__"] = inspect.Signature(parameters)
        app.command(name, cls=_Command)(run)
        return function

    return register


def _unwrapped(text: str) -> str:
    """Join the lines of each paragraph, so that the help is wrapped at the terminal's width."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(one if "\n " in one else one.replace("\n", " ") for one in paragraphs)


def _parameter_texts(kind: type) -> dict[str, str]:
    """Find the descriptions in the section Parameters of a class's docstring."""
    texts: dict[str, str] = {}
    section = (inspect.getdoc(kind) or "").partition("Parameters\n----------\n")[2]
    for line in section.partition("\n\n")[0].splitlines():
        if found := re.fullmatch(r"(\w+) : (.*)", line):
            texts[found[1]] = found[2]
        elif texts:
            texts[[*texts][-1]] += " " + line.strip()
    return texts


def engine_fields(*names: str) -> type:
    """Make a dataclass of options from fields of ``MatVecConfig``; None stands for "not given".

    Types come from the fields, and help from the class's docstring.

    Parameters
    ----------
    names : the fields; without any, all fields
    """
    from ..hw.config import MatVecConfig

    texts, kinds = _parameter_texts(MatVecConfig), get_type_hints(MatVecConfig)
    made = []
    for name in names or kinds:
        text, kind = texts.get(name, "").replace("``", ""), _plain(kinds[name])
        if issubclass(kind, StrEnum):
            # The help shows the legal values anyway.
            text = text.partition("; ")[2].partition(", see")[0]
        made.append(
            (name, kind | None, option(None, text[:1].upper() + text[1:].rstrip(".") + "."))
        )
    return make_dataclass("EngineOptions", made, frozen=True, kw_only=True)


def given_fields(options: Any, kind: type) -> dict[str, Any]:
    """Find the options that were given, of those that ``kind`` has a field of the same name for."""
    values = {one.name: getattr(options, one.name, None) for one in fields(kind)}
    return {name: value for name, value in values.items() if value is not None}


def parse_list(name: str, text: str, kind: type) -> tuple[Any, ...]:
    """Convert values that are separated by commas.

    Raises
    ------
    OptionError
        If one of them is not of the type.
    """
    try:
        return tuple(kind(value) for value in text.split(","))
    except ValueError:
        raise OptionError(f"{name} must be numbers separated by commas, not {text!r}") from None
