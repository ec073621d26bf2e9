import os
import re
from pathlib import Path

import pytest

from trilith.sim.gatelevel.liberty import LibertyError
from trilith.sim.gatelevel.sram import read_sram

MACRO = """
library (m) {
  capacitive_load_unit (1, pf); voltage_unit : "1V"; leakage_power_unit : "1nW";
  nom_voltage : 1.2; nom_temperature : 25;
  cell (RAM) {
    area : 500; cell_leakage_power : 7;
    memory() { type : ram; address_width : 4; word_width : 8; }
    bus(A_ADDR) { pin(A_ADDR[0]) { direction : input; }
      pin(A_ADDR[3:0]) { internal_power() { when : "A_MEN";
        rise_power(scalar) { values (1); } fall_power(scalar) { values (3); } } } }
    bus(A_DIN) { pin(A_DIN[7:0]) {
      internal_power() { when : "A_MEN";
        rise_power(scalar) { values (0.5); } fall_power(scalar) { values (1.5); } }
      internal_power() { when : "!A_MEN"; rise_power(scalar) { values (9); } } } }
    pin(A_BIST_CLK) { clock : true; internal_power() { rise_power(scalar) { values (99); } } }
    pin(A_CLK) { clock : true;
      internal_power() { when : "A_MEN & A_WEN & !A_REN";
        rise_power(scalar) { values (100); } fall_power(scalar) { values (2); } }
      internal_power() { when : "A_MEN & !A_WEN & A_REN";
        rise_power(scalar) { values (80); } fall_power(scalar) { values (0); } } }
  }
}
"""


def test_reads_and_writes(tmp_path):
    (tmp_path / "m.lib").write_text(MACRO)
    macro = read_sram(tmp_path / "m.lib")
    assert (macro.name, macro.words, macro.bits, macro.kilobytes) == ("RAM", 16, 8, 1 / 64)
    # The clock's energy; two of four address bits change, and four of eight written bits.
    assert macro.read_pj == 80 + 2 * 2
    assert macro.write_pj == 102 + 2 * 2 + 4 * 1
    assert (macro.area, macro.leakage_nw) == (500, 7)
    assert re.match(r"m\.lib, SHA-256 [0-9a-f]{64}, 1\.2 V, 25 C: ", macro.source)


@pytest.mark.parametrize(("unit", "times"), [("10, pf", 10), ("1, ff", 0.001), ("50.0, fF", 0.05)])
def test_energies_have_the_unit_of_capacitance_times_voltage_squared(tmp_path, unit, times):
    (tmp_path / "m.lib").write_text(MACRO.replace("1, pf", unit))
    macro = read_sram(tmp_path / "m.lib")
    assert macro.read_pj == pytest.approx(84 * times)
    assert macro.write_pj == pytest.approx(110 * times)


def test_another_unit_of_voltage_is_refused(tmp_path):
    (tmp_path / "m.lib").write_text(MACRO.replace('"1V"', '"1mV"'))
    with pytest.raises(LibertyError, match=r"^m\.lib: voltage_unit must be 1V, not '1mV'$"):
        read_sram(tmp_path / "m.lib")


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("memory()", "other()", "not enough values to unpack (expected 1, got 0)"),
        ("!A_WEN", "A_WEN", "the energy of a read is missing"),
        ('"1nW"', '"1pW"', "leakage_power_unit is not 1nW"),
        ("values (80)", "values (x)", "could not convert string to float: 'x'"),
    ],
)
def test_what_is_no_macro_is_refused(tmp_path, old, new, what):
    (tmp_path / "m.lib").write_text(MACRO.replace(old, new))
    message = (
        "m.lib: the file must describe one memory macro with the energies of a read and a write: "
    )
    with pytest.raises(LibertyError, match=f"^{re.escape(message)}.*{re.escape(what)}"):
        read_sram(tmp_path / "m.lib")


@pytest.mark.skipif("TRILITH_PDK" not in os.environ, reason="TRILITH_PDK must name the libraries")
def test_macros_of_ihp():
    """Clock energies as the file's text has them."""
    folder = Path(os.environ["TRILITH_PDK"]) / "ihp-sg13g2"
    file = next(folder.glob("RM_IHPSG13_1P_1024x64*"), None)
    if file is None:
        pytest.skip("there is no macro of IHP in TRILITH_PDK")
    macro = read_sram(file)
    assert (macro.kilobytes, macro.bits) == (8, 64)
    assert macro.read_pj == pytest.approx(91.8272 + 5 * (0.0107 + 0.0055) / 2)
    assert macro.write_pj == pytest.approx(
        110.9189 + 5 * (0.0107 + 0.0055) / 2 + 32 * (0.2347 + 0.0990) / 2
    )
