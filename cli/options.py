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
from pathlib import Path
from typing import Annotated, Any, TypeVar, dataclass_transform, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from ..golden.errors import TrilithError
from ..golden.input_files import shown

__all__ = [
    "CoreTokens",
    "Group",
    "HiddenAct",
    "JsonOptions",
    "LayoutOptions",
    "ModelOptions",
    "OptionError",
    "Options",
    "Preset",
    "Quantize",
    "Type42",
    "argument",
    "check_not_read",
    "command",
    "config_fields",
    "force_option",
    "given_fields",
    "i2s_option",
    "new_app",
    "option",
    "parse_list",
    "reading",
    "type42_option",
]

_Function = TypeVar("_Function", bound=Callable[..., bool | None])


class OptionError(TrilithError, ValueError):
    """An option or an argument of the command line is wrong."""


#: Names of engines; ``trilith.hw.config.PRESETS`` has the same.
Preset = StrEnum("Preset", ["MICRO", "LINE", "BLOCK", "BITNET", "COMPACT"])
#: Activations that a GGUF file may leave unsaid; ``gguf_names.ACTIVATIONS`` has the same.
HiddenAct = StrEnum("HiddenAct", ["SILU", "RELU2"])
#: Quantization of float weights.
Quantize = StrEnum("Quantize", ["ABSMEAN"])
#: Layouts of the type 42, as ``golden.checkpoint.gguf_places`` has them.
Type42 = StrEnum("Type42", ["Q2_0_64", "Q2_0_128", "STQ1_0"])
#: Tokens of a prompt that a token core runs in a pass; ``hw.token.config.TOKENS`` has the same.
CoreTokens = StrEnum("CoreTokens", {"ONE": "1", "TWO": "2", "FOUR": "4", "EIGHT": "8"})
#: Layouts of I2_S; ``trilith.golden.checkpoint.i2_s.I2SLayout`` has the same.
I2sLayout = StrEnum("I2sLayout", ["AUTO", "BLOCK128", "BLOCK64", "ROWS4"])


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Options:
    """Options of a command: each subclass is a frozen dataclass of its fields."""

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, kw_only=True)(cls)


@dataclass(frozen=True, kw_only=True)
class _Use:
    """Conditions under which an option has an effect; in all others it is refused.

    A condition is an option that is given (``--versus``), or an option with its value, given or
    by default (``--port sim``).

    Parameters
    ----------
    needs : one of these must hold
    excludes : none of these may hold
    alone : no other option may be given, but for ``--json`` and those of ``beside``
    """

    needs: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    alone: bool = False
    beside: tuple[str, ...] = ()


def _field(default: Any, info: Any, use: _Use) -> Any:
    metadata = {"parameter": info, "use": use}
    return field(metadata=metadata) if default is ... else field(default=default, metadata=metadata)


def option(
    default: Any,
    text: str,
    *names: str,
    needs: tuple[str, ...] = (),
    excludes: tuple[str, ...] = (),
    alone: bool = False,
    beside: tuple[str, ...] = (),
    **settings: Any,
) -> Any:
    """Make a dataclass field that is an option of the command line.

    Parameters
    ----------
    default : value where the option is not given; ``...`` for an option that must be given
    text : the help
    names : declarations such as ``--json``; by default the field's name
    needs, excludes, alone, beside : see ``_Use``
    settings : arguments of ``typer.Option``; ``min`` and ``max`` are the legal range
    """
    settings.setdefault("show_default", default not in (..., None, False))
    use = _Use(needs=needs, excludes=excludes, alone=alone, beside=beside)
    return _field(default, typer.Option(*names, help=text, **settings), use)


def argument(default: Any, text: str, **settings: Any) -> Any:
    """Make a dataclass field that is a positional argument; the parameters are as in ``option``."""
    return _field(default, typer.Argument(help=text, **settings), _Use())


def force_option(**use: Any) -> Any:
    """Make the option of every command that writes files under a name that its user gives.

    Parameters
    ----------
    use : as in ``option``
    """
    return option(False, "Replace files that exist, but no folder.", "--force", **use)


class JsonOptions(Options):
    """Options of a command that prints figures."""

    as_json: bool = option(False, "Print one JSON value instead of text.", "--json")


def i2s_option(**use: Any) -> Any:
    """Make the option of every command that reads a checkpoint, which may be a GGUF file.

    Parameters
    ----------
    use : as in ``option``
    """
    return option(
        I2sLayout.AUTO,
        "Layout of I2_S in a GGUF file, by the build of bitnet.cpp that wrote it: block128 (x86), "
        "block64 (ARM) or rows4 (x86 without ACT_PARALLEL). auto: block128, unless the weights "
        "are clearly in another one.",
        **use,
    )


def type42_option(**use: Any) -> Any:
    """Make the same option for the layouts of the type 42.

    Parameters
    ----------
    use : as in ``option``
    """
    return option(
        None,
        "Layout of the tensors of a GGUF file whose type has the number 42; without it, the sizes "
        "of the tensors must show the layout.",
        **use,
    )


class LayoutOptions(JsonOptions):
    """Options of a command that reads the weights of a checkpoint."""

    i2s_layout: I2sLayout = i2s_option()
    type42: Type42 | None = type42_option()


class ModelOptions(LayoutOptions):
    """Options of a command that runs, compiles or converts a model."""

    hidden_act: HiddenAct | None = option(
        None, "Activation of a GGUF file that states none; without it, such a file is refused."
    )


def reading(options: Any) -> dict[str, Any]:
    """Find the arguments of ``load_checkpoint`` that the options of a command give."""
    values = {
        name: getattr(options, name, None)
        for name in ("quantize", "i2s_layout", "type42", "hidden_act")
    }
    return {name: str(value) for name, value in values.items() if value is not None}


def check_not_read(options: Any, path: Path) -> None:
    """Refuse the options of ``reading`` for an image of the token core."""
    given = [
        f"--{name.replace('_', '-')}"
        for name, value in reading(options).items()
        if value != I2sLayout.AUTO
    ]
    if given:
        verb, them = ("is", "it") if len(given) == 1 else ("are", "them")
        raise OptionError(f"{path}: {' and '.join(given)} {verb} for checkpoints; leave {them} out")


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
    if not text:
        raise OptionError(f"{name} must not be empty")
    if issubclass(kind, StrEnum):
        if text not in [str(choice) for choice in kind]:
            raise OptionError(f"{name} must be {_choices(kind)}, not {shown(text)}")
        return kind(text)
    return _number(kind, name, text) if kind in (int, float) else kind(text)


def _number(kind: type, name: str, text: str) -> Any:
    """Convert a text to an integer or to a finite number."""
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if isinstance(value, float) and not math.isfinite(value):
        noun = "an integer" if kind is int else "a finite number"
        raise OptionError(f"{name} must be {noun}, not {shown(text)}")
    return value


def _check_range(name: str, value: Any, low: float | None, high: float | None) -> None:
    if low is not None and high is not None and not low <= value <= high:
        raise OptionError(f"{name} must be from {low} to {high}, not {shown(value)}")
    if low is not None and value < low:
        raise OptionError(f"{name} must be {low} or more, not {shown(value)}")


def _name(parameter: Any) -> str:
    """Return the name of an option or an argument, as a user writes it."""
    named = parameter.param_type_name == "option"
    return max(parameter.opts, key=len) if named else parameter.name.upper()


def _process(parameter: Any, kind: type, ctx: Any, value: Any) -> Any:
    """Do what click's ``process_value`` does: convert the text, or the texts, of a parameter."""
    name = _name(parameter)
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
    """A command whose values are converted by the rules of this module.

    An option that would be ignored is refused: one that is given twice, and one without effect by
    its ``_Use``.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        kinds = get_type_hints(self.callback) if self.callback else {}
        for parameter in self.params:
            if parameter.name in kinds:
                kind = _plain(kinds[parameter.name])
                parameter.process_value = partial(_process, parameter, kind)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line, and refuse options that would be ignored."""
        if ctx.resilient_parsing:  # A shell completes a command line that is not whole yet.
            return super().parse_args(ctx, args)
        values, _, parsed = self.make_parser(ctx).parse_args(args=list(args))
        # Arguments are among the parsed ones in any case.
        given = [one for one in parsed if values[one.name] not in (None, ())]
        for parameter in given:
            if given.count(parameter) > 1 and not (parameter.multiple or parameter.nargs != 1):
                raise OptionError(f"{_name(parameter)} must be given once")
        rest = super().parse_args(ctx, args)
        names = {one.name: _name(one) for one in given}
        values = {_name(one): str(ctx.params.get(one.name)) for one in self.params}
        uses: dict[str, _Use] = getattr(self.callback, "uses", {})
        for field_name, name in names.items():
            _check_use(name, uses.get(field_name, _Use()), [*names.values()], values)
        return rest


def _check_use(name: str, use: _Use, given: list[str], values: dict[str, str]) -> None:
    """Refuse an option that has no effect.

    Parameters
    ----------
    name : the option
    use : its conditions
    given : names of all options and arguments that are given
    values : the value of each option by name, as text
    """

    def holds(condition: str) -> bool:
        other, _, value = condition.partition(" ")
        return values.get(other) == value if value else other in given

    if use.needs and not any(map(holds, use.needs)):
        raise OptionError(
            f"{name} must not be given without {' or '.join(use.needs)}, which it is for"
        )
    excludes = [*filter(holds, use.excludes)]
    if use.alone:
        others = [other for other in given if other not in (name, "--json", *use.beside)]
        name, excludes = (others[0], [name]) if others else (name, excludes)
    if excludes:
        raise OptionError(f"{name} must not be given with {excludes[0]}, which does not use it")


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
        run.__dict__["uses"] = {one.name: one.metadata["use"] for one in fields(kind)}
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
    names: list[str] = []
    for line in section.partition("\n\n")[0].splitlines():
        # Parameters that share a description stand in one line.
        found = re.fullmatch(r"(\w+(?:, \w+)*) : (.*)", line)
        names = found[1].split(", ") if found else names
        for name in names:
            texts[name] = found[2] if found else f"{texts[name]} {line.strip()}"
    return texts


def config_fields(kind: type, *names: str, **use: Any) -> type:
    """Make a dataclass of options from fields of a configuration; None stands for "not given".

    Types come from the fields, and help from the class's docstring.

    Parameters
    ----------
    kind : ``MatVecConfig`` or ``TokenConfig``
    names : the fields; without any, all fields
    use : as in ``option``
    """
    texts, kinds = _parameter_texts(kind), get_type_hints(kind)
    made = []
    for name in names or kinds:
        text, value = texts.get(name, "").replace("``", ""), _plain(kinds[name])
        if issubclass(value, StrEnum):
            # The help shows the legal values anyway.
            text = text.partition("; ")[2].partition(", see")[0]
        made.append(
            (name, value | None, option(None, text[:1].upper() + text[1:].rstrip(".") + ".", **use))
        )
    return make_dataclass("ConfigOptions", made, frozen=True, kw_only=True)


def given_fields(options: Any, kind: type) -> dict[str, Any]:
    """Find the options that were given, of those that ``kind`` has a field of the same name for."""
    values = {one.name: getattr(options, one.name, None) for one in fields(kind)}
    return {name: value for name, value in values.items() if value is not None}


def parse_list(name: str, text: str, kind: type, low: float, high: float) -> tuple[Any, ...]:
    """Convert values that are separated by commas.

    Parameters
    ----------
    name : the option, for messages
    text : the values
    kind : int or float
    low, high : smallest and largest legal value

    Raises
    ------
    OptionError
        If one of them is not of the type, or out of the range.
    """
    values = tuple(_number(kind, f"a value of {name}", one) for one in text.split(","))
    for value in values:
        _check_range(f"a value of {name}", value, low, high)
    return values
