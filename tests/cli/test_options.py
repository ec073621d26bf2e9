import re
from dataclasses import fields
from enum import StrEnum
from pathlib import Path

import pytest
import typer

from trilith.cli.core_options import CoreOptions, CorePreset
from trilith.cli.generate import _Activations
from trilith.cli.options import (
    JsonOptions,
    OptionError,
    Preset,
    argument,
    command,
    config_fields,
    given_fields,
    new_app,
    option,
    parse_list,
)
from trilith.golden.network.transformer import ACTIVATIONS
from trilith.hw.config import PRESETS, MatVecConfig
from trilith.hw.token.config import CORE_PRESETS, TokenConfig


class _Color(StrEnum):
    RED = "red"
    BLUE = "blue"


class _Options(JsonOptions):
    path: Path = argument(..., "A path.")
    size: int = option(4, "A size.", min=1, max=8)
    rate: float = option(0.5, "A rate.", min=0)
    color: _Color | None = option(None, "A color.")
    word: list[str] | None = option(None, "Words.")
    loud: bool = option(False, "A flag.")


def run(*arguments):
    """Options that a command of ``_Options`` gets."""
    app, got = new_app(), []

    @command(app)
    def show(options: _Options) -> None:
        """Show."""
        got.append(options)

    typer.main.get_command(app).main(list(arguments), standalone_mode=False)
    return got[0]


def test_values_have_the_types_of_the_fields():
    assert run("a") == _Options(path=Path("a"))
    assert run(
        *("a", "--size", "8", "--rate", "2", "--color", "blue", "--word", "x", "--word", "y"),
        *("--loud", "--json"),
    ) == _Options(
        path=Path("a"),
        size=8,
        rate=2.0,
        color=_Color.BLUE,
        word=["x", "y"],
        loud=True,
        as_json=True,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "PATH is missing: give it"),
        (["a", "--size", "x"], "--size must be an integer, not 'x'"),
        (["a", "--size", "9"], "--size must be from 1 to 8, not 9"),
        (["a", "--rate", "inf"], "--rate must be a finite number, not 'inf'"),
        (["a", "--rate", "-1"], "--rate must be 0 or more, not -1.0"),
        (["a", "--color", "green"], "--color must be red or blue, not 'green'"),
        ([""], "PATH must not be empty"),
        (["a", "--word", "b", "--word", ""], "--word must not be empty"),
        (["a", "--size", "9" * 400], "--size must be from 1 to 8, not an integer of 1329 bits"),
        (
            ["a", "--rate", "x" * 200],
            f"--rate must be a finite number, not '{29 * 'x'}...{29 * 'x'}'",
        ),
        (["a", "--size", "1", "--size", "2"], "--size must be given once"),
        (["a", "--loud", "--loud"], "--loud must be given once"),
    ],
)
def test_wrong_values_are_refused(arguments, message):
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        run(*arguments)


@pytest.mark.parametrize("failed", [True, False, None])
def test_a_command_that_failed_ends_with_status_1(failed):
    app = new_app()

    @command(app)
    def check(options: _Options) -> bool | None:
        """Check."""
        return failed

    status = typer.main.get_command(app).main(["a"], standalone_mode=False)
    assert status == (1 if failed else None)


def test_engine_options_are_the_fields_of_the_configuration():
    engine = config_fields(MatVecConfig)
    assert [one.name for one in fields(engine)] == [one.name for one in fields(MatVecConfig)]
    for one in fields(engine):
        assert re.fullmatch(r"[0-9A-Z].{15,}\.", one.metadata["parameter"].help), one.name
    assert given_fields(engine(lanes=5, code="tq1"), engine) == {"lanes": 5, "code": "tq1"}
    some = fields(config_fields(MatVecConfig, "code", "k_max"))
    assert [one.name for one in some] == ["code", "k_max"]
    (one,) = fields(config_fields(TokenConfig, "vector_lanes"))
    assert one.metadata["parameter"].help.startswith("1, 2, 4, 8 or 16; elements of a vector per ")
    shared = {one.metadata["parameter"].help for one in fields(CoreOptions) if "heads" in one.name}
    assert len(shared) == 1
    assert shared.pop().startswith("1 to 256; heads of queries, and of keys and values; ")


def test_choices_are_those_of_the_rooms():
    assert [*Preset] == [*PRESETS]
    assert [*CorePreset] == [*CORE_PRESETS]
    assert [*_Activations] == [*ACTIVATIONS]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,x", "a value of --rows must be an integer, not 'x'"),
        ("1,", "a value of --rows must be an integer, not ''"),
        ("1,9", "a value of --rows must be from 1 to 8, not 9"),
        ("9" * 400, "a value of --rows must be from 1 to 8, not an integer of 1329 bits"),
    ],
)
def test_lists_are_separated_by_commas(text, message):
    assert parse_list("--rows", "1,2", int, 1, 8) == (1, 2)
    with pytest.raises(OptionError, match=f"^{message}$"):
        parse_list("--rows", text, int, 1, 8)
