"""``trilith characterize --token-core``: energy of the parts of a whole token core."""

from dataclasses import asdict
from typing import Any

from .options import OptionError
from .output import Column, Table, print_facts, print_json, status

__all__ = ["measure_core"]


def measure_core(options: Any) -> bool:
    """Store the energies of the parts of a token core; tell whether a path misses the clock.

    Parameters
    ----------
    options : options of ``trilith characterize``
    """
    from ..sim.gatelevel.core_parts import measure_stored, stored_key
    from ..sim.gatelevel.core_table import check_core_table, core_table_file, store_core_table

    if len(options.clocks) > 1:
        raise OptionError("--clock-ghz must be given once with --token-core")
    file = options.out or core_table_file(options.library)
    core, clock = check_core_table(file), options.clocks[0]
    with status("measuring a token core"):
        if core is None or core.key != stored_key(options.files, clock):
            core = measure_stored(
                library_name=options.library,
                node=options.node or (core.node if core else ""),
                files=options.files,
                clock_ghz=clock,
            )
            store_core_table(core, file)
    if options.as_json:
        print_json(asdict(core))
        return core.max_ghz < core.clock_ghz
    Table(
        Column("part", "part", 10, "<"),
        Column("operations", "operations", form=","),
        Column("cells", "cells", form=","),
        Column("flip-flops", "flip_flops", form=","),
        Column("busy cycles", "busy", form=","),
        Column("fJ per operation", "gated_fj", form=".1f"),
        Column("bits of memory", "moved_bits", form=".1f"),
    ).rows(core.parts)
    print_facts(
        [
            (
                "core",
                f"{core.core}; {core.cycles} cycles of a token at a context of {core.context}",
            ),
            ("clock", f"{core.clock_ghz:g} GHz; {core.max_ghz:.2f} GHz at most, without wires"),
            ("ports", f"{core.compared} values equal those of the RTL"),
            ("table", str(file)),
        ]
    )
    return core.max_ghz < core.clock_ghz
