"""Generates a driver and a testbench in C++ from the exported files of an engine alone.

It reads ``<stem>.json`` and ``<stem>_pack.h``, and nothing of Trilith, as a user without Python or
the repository would have it. ``testbenches/exported_driver.cpp`` is the part that is the same for
all engines.
"""

import json
from pathlib import Path
from typing import Any


def _facts(description: dict[str, Any]) -> dict[str, int]:
    """Numbers of the JSON file, by their names in C++."""
    parameters, payloads = description["parameters"], description["payloads"]
    code, results = description["weight_code"], payloads["results"]
    facts = {name: parameters[name] for name in ("lanes", "rows", "tokens", "act_bits")}
    for name, (_, largest) in description["jobs"]["limits"].items():
        if name in ("n", "k", "group_chunks"):
            facts[f"{name}_max"] = largest
    for name, place in payloads["jobs"].items():
        facts |= {f"{name}_lsb": place["lsb"], f"{name}_bits": place["msb"] - place["lsb"] + 1}
    for name, fault in description["faults"].items():
        # A fault without a cause never comes.
        facts |= {f"{name}_bit": fault["bit"], f"{name}_cycles": fault.get("cycles", 0)}
    for name in ("symbol_bits", "symbol_trits", "beat_symbols", "beat_trits"):
        facts[name] = code[name]
    lowest, highest = payloads["activations"]["lanes"]["limits"]
    return facts | {
        "job_bits": sum(place["msb"] - place["lsb"] + 1 for place in payloads["jobs"].values()),
        "weight_bytes": description["streams"]["weights"]["beat_bytes"],
        "result_bytes": description["streams"]["results"]["beat_bytes"],
        "acc_width": results["values"]["element_width"],
        "last_lsb": results["last"]["lsb"],
        "lowest": lowest,
        "highest": highest,
        "accepted_ahead": description["jobs"]["accepted_ahead"],
        "values": len(code["symbols"]),
    }


def driver(folder: Path, stem: str) -> str:
    """Write the driver of the engine whose files are ``<stem>.*`` in a folder."""
    description = json.loads((folder / f"{stem}.json").read_text())
    symbols = description["weight_code"]["symbols"]
    trits = description["weight_code"]["symbol_trits"]
    rows = (", ".join(map(str, symbol or [0] * trits)) for symbol in symbols)
    legal = ", ".join(str(int(symbol is not None)) for symbol in symbols)
    return "\n".join(
        [
            (folder / f"{stem}_pack.h").read_text(),
            f"#define PACK(name) {description['top']}_##name",
            "namespace json {",
            *(f"constexpr int {name} = {value};" for name, value in _facts(description).items()),
            f"const signed char symbols[][{trits}] = {{",
            *(f"    {{{row}}}," for row in rows),
            "};",
            f"const bool legal[] = {{{legal}}};",
            "}",
            (Path(__file__).parent / "testbenches" / "exported_driver.cpp").read_text(),
        ]
    )
