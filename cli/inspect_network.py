"""``trilith model inspect`` of networks in QONNX."""

from pathlib import Path
from typing import Any

from .output import Column, Table, print_facts, print_json, print_note

__all__ = ["inspect_network"]


def inspect_network(path: Path, *, as_json: bool) -> None:
    """Print what a network in QONNX is, what it needs, and what can be done with it here.

    Parameters
    ----------
    path : the file
    as_json : print one JSON value
    """
    from ..golden.checkpoint.statistics import statistics
    from ..golden.network.qonnx import QonnxNetwork

    network = QonnxNetwork.load(path)
    checkpoint = network.checkpoint
    rows: list[dict[str, Any]] = []
    for layer in network.layers:
        row = statistics(checkpoint, layer.linear.weight.name)
        rows.append(
            row.as_dict()
            | {
                "node": layer.node,
                "weights": "binary" if row.zero_fraction == 0 else "ternary",
                "activations": [layer.low, layer.high],
                "act_bits": layer.act_bits,
                "offset": layer.offset,
            }
        )
    facts = {
        "container": "ONNX",
        "family": "QONNX, a chain of products",
        "format": checkpoint.format,
        "scale": checkpoint.scale_convention,
        "producer": network.producer,
        "input": " x ".join(map(str, ("T", *network.shape))),
        "needs": network.operators,
        "read": "yes",
        "convert": "yes, to streams of an engine (--to stream): weights and scales only",
        "verify": "yes",
        "generate": "no: the network is no language model",
        "engine": f"yes, with {network.act_bits}-bit activations: trilith sim --network",
        "token_core": "no: the network is no transformer",
    }
    if as_json:
        print_json({"path": str(path), **facts, "tensors": rows})
        return
    shown = facts | {"needs": ", ".join(network.operators) or "nothing"}
    print_facts({name.replace("_", " "): value for name, value in shown.items()})
    Table(
        Column("node", "node", 24, "<"),
        Column("N x K", lambda row: f"{row['n']} x {row['k']}", 13),
        Column("weights", "weights", 7, "<"),
        Column("scales", "scales", 6),
        Column("zeros", "zero_fraction", 6, ".2%"),
        Column("activations", lambda row: "{} to {}".format(*row["activations"]), 11, "<"),
        Column("engine, bits", "act_bits"),
        Column("offset", "offset"),
    ).rows(rows)
    weights = sum(row["n"] * row["k"] for row in rows)
    print_note(f"{len(rows)} matrices, {weights} weights")
