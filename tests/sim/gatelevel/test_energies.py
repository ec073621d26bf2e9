import numpy as np
import pytest

from trilith.sim.gatelevel.energies import EnergyTable, read_energies
from trilith.sim.gatelevel.liberty import LibertyFile


def parse(text):
    return LibertyFile(name="x.lib", sha256="", content=text.encode()).parse()


def at(table: EnergyTable, slew: float, load: float) -> float:
    return table.at(np.array([slew]), np.array([load]))[0]


def test_energies_between_and_beyond_points():
    names = ["total_output_net_capacitance", "input_transition_time"]
    axes, values = [[1.0, 3.0], [10.0, 20.0, 40.0]], [1.0, 2.0, 4.0, 5.0, 6.0, 8.0]
    table = EnergyTable(variables=names, axes=axes, values=values)
    for load, slew in [(1, 10), (3, 40), (2, 15), (2.5, 30), (0, 0), (5, 50)]:
        expected = values[0] + 2 * (load - 1) + (slew - 10) / 10
        assert at(table, slew, load) == pytest.approx(expected)
    names = ["input_transition_time"]
    one = EnergyTable(variables=names, axes=[[5.0, 15.0], []], values=[1.0, 2.0])
    assert at(one, 0, 7) == 0.5
    constant = EnergyTable(variables=["", ""], axes=[[], []], values=[0.25])
    assert at(constant, 3, 4) == 0.25


def test_groups_of_a_cell():
    text = """library (a) {
  power_lut_template (t) { variable_1 : input_transition_time; index_1 ("9, 9"); }
  cell (X) {
    pg_pin (VSS) { pg_type : primary_ground; }
    pin (Y) {
      internal_power () { related_pin : "A"; when : "B"; rise_power (t) { index_1 ("1, 2");
        values ("3, 4"); } fall_power (scalar) { values ("5"); } }
      internal_power () { related_pg_pin : VSS; rise_power (scalar) { values ("9"); } }
    }
  }
  cell (Z) { }
}"""
    (group,), none = read_energies(parse(text))
    assert none == []
    assert (group.pin, group.related, group.when) == ("Y", "A", "B")
    rise, fall = group.tables
    assert (rise.variables, rise.axes) == (["input_transition_time", ""], [[1.0, 2.0], []])
    assert rise.values == [3.0, 4.0]
    assert (fall.variables, fall.axes, fall.values) == ([], [[], []], [5.0])
