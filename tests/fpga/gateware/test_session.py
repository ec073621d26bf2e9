# amaranth: UnusedElaboratable=no
import re
from dataclasses import replace

import pytest

from trilith.fpga.boards import SIMULATED
from trilith.fpga.flow.vivado import PllTop
from trilith.fpga.gateware.answers import AnswerScheduler
from trilith.fpga.gateware.session import Session
from trilith.fpga.gateware.top import BoardTop


@pytest.mark.parametrize("component", [Session, BoardTop, lambda config: PllTop(config, 10**8)])
def test_a_configuration_that_is_none_is_refused(component):
    with pytest.raises(TypeError, match=r"^config must be a TopConfig, not 5$"):
        component(5)


def test_a_crystal_that_is_none_is_refused():
    with pytest.raises(TypeError, match=r"^crystal must be an integer, not 5.0$"):
        PllTop(SIMULATED, 5.0)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"identity": "x"}, TypeError, "identity must be of type bytes, not 'x'"),
        ({"identity": b""}, ValueError, "identity must have from 1 to 236 bytes, not 0"),
        ({"identity": bytes(237)}, ValueError, "identity must have from 1 to 236 bytes, not 237"),
        ({"depth": 2.0}, TypeError, "depth must be an integer, not 2.0"),
        ({"depth": 239}, ValueError, "depth must be at least 240, not 239"),
        ({"live": 2.0}, TypeError, "live must be an integer, not 2.0"),
        ({"live": 26}, ValueError, "live must be from 0 to 25, not 26"),
        ({"flags": 8}, ValueError, "flags must be from 0 to 7, not 8"),
    ],
)
def test_parameters_of_answers_that_are_not_legal(parameters, error, message):
    legal = {"identity": SIMULATED.identity.encode(), "depth": 512}
    arguments = legal | parameters
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        AnswerScheduler(arguments.pop("identity"), **arguments)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"engine": 5}, TypeError, "engine must be a MatVecConfig, not 5"),
        ({"memory": 5}, TypeError, "memory must be a MemoryShape, not 5"),
        ({"baud": 1e6}, TypeError, "baud must be an integer, not 1000000.0"),
        ({"clock_hz": 0}, ValueError, "clock_hz must be at least 1, not 0"),
        ({"queue": 128}, ValueError, "queue must be a power of two above 240, not 128"),
        ({"queue": 384}, ValueError, "queue must be a power of two above 240, not 384"),
        (
            {"baud": 6_000_000},
            ValueError,
            "baud must be 16000000 Hz divided by an integer of 4 or more, within 2 %, not 6000000",
        ),
    ],
)
def test_configurations_that_are_not_legal(changes, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        replace(SIMULATED, **changes)
