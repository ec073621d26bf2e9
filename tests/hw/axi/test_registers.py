"""The register map, and the constants made from it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from trilith.golden import CODES
from trilith.hw import MatVecConfig
from trilith.hw.axi.registers import (
    ADDRESS_BITS,
    REGISTERS,
    c_header,
    markdown_table,
    python_constants,
)
from trilith.hw.axi.wrapper import AxiMatVec

VALUES = AxiMatVec(MatVecConfig(lanes=7, rows=2, k_max=100, n_max=64)).register_values


def test_that_the_map_is_sound() -> None:
    offsets = [register.offset for register in REGISTERS]
    assert offsets == sorted(set(offsets))
    assert all(offset % 4 == 0 and offset < 2**ADDRESS_BITS for offset in offsets)
    assert len({register.name for register in REGISTERS}) == len(REGISTERS)
    for register in REGISTERS:
        assert register.access in ("ro", "rw", "flags", "command")
        end = 0
        for field in register.fields:
            assert field.lsb >= end
            end = field.lsb + field.width
        assert end <= 32


def test_that_codes_are_numbered_as_the_map_says() -> None:
    (code,) = (register for register in REGISTERS if register.name == "code")
    numbered = ", ".join(f"{number} {name}" for number, name in enumerate(CODES))
    assert code.meaning == f"of weights: {numbered}"


def python_names() -> dict[str, int]:
    names: dict[str, int] = {}
    exec(python_constants(VALUES), names)
    return {name: value for name, value in names.items() if name.isupper()}


def test_python_constants() -> None:
    names = python_names()
    assert names["MAGIC"] == 0
    assert names["STATUS"] == 0x44
    assert (names["STATUS_QUEUE_ROOM_LSB"], names["STATUS_QUEUE_ROOM_MASK"]) == (8, 0xFF00)
    assert names["ERROR_ACTIVATIONS_KEEP_MASK"] == 0x80
    assert names["WAIT_RESULTS"] == 0x94
    assert (names["LANES_VALUE"], names["MAGIC_VALUE"]) == (7, 0x5452494C)


def test_that_c_says_the_same() -> None:
    text = c_header("engine", VALUES)
    macros = {
        name: int(value, 0)
        for name, value in re.findall(r"^#define ENGINE_(\w+) (\w+)u\b", text, re.M)
    }
    assert macros == python_names()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_that_c_compiles(tmp_path: Path) -> None:
    (tmp_path / "engine_regs.h").write_text(c_header("engine", VALUES))
    program = '#include "engine_regs.h"\nint x[ENGINE_JOB_START == 0x74u ? 1 : -1];\n'
    (tmp_path / "x.c").write_text(program)
    command = ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-c", "x.c"]
    subprocess.run(command, cwd=tmp_path, check=True)


def test_that_the_page_has_every_register_and_field() -> None:
    page = "\n".join(markdown_table())
    for register in REGISTERS:
        assert f"| 0x{register.offset:02X} | `{register.name}` | {register.access} |" in page
        for field in register.fields:
            assert f"| `{field.name}` | {field.meaning} |" in page
