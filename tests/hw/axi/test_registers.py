"""The register map."""

import pytest

from trilith.golden import CODES
from trilith.hw.axi.registers import ADDRESS_BITS, CORE_REGISTERS, REGISTERS

MAPS = pytest.mark.parametrize("registers", [REGISTERS, CORE_REGISTERS], ids=["engine", "core"])


@MAPS
def test_that_the_map_is_sound(registers) -> None:
    offsets = [register.offset for register in registers]
    assert offsets == sorted(set(offsets))
    assert all(offset % 4 == 0 and offset < 2**ADDRESS_BITS for offset in offsets)
    assert len({register.name for register in registers}) == len(registers)
    for register in registers:
        assert register.access in ("ro", "rw", "flags", "command")
        end = 0
        for field in register.fields:
            assert field.lsb >= end
            end = field.lsb + field.width
            assert field.mask == sum(2**bit for bit in range(field.lsb, end))
        assert end <= 32


@MAPS
def test_that_the_version_has_two_halves(registers) -> None:
    (version,) = (register for register in registers if register.name == "version")
    places = {field.name: (field.lsb, field.width) for field in version.fields}
    assert places == {"minor": (0, 16), "major": (16, 16)}


@MAPS
def test_that_codes_are_numbered_as_the_map_says(registers) -> None:
    (code,) = (register for register in registers if register.name == "code")
    numbered = ", ".join(f"{number} {name}" for number, name in enumerate(CODES))
    assert code.meaning == f"weight code: {numbered}"
