"""Target: images of models for the token core, with their programs as trees."""

import hashlib
import json
import struct
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np

from trilith.golden.network.token_core import CoreModel
from trilith.golden.network.transformer import BitNetModel
from trilith.hw import MatVecConfig
from trilith.hw.token.config import TokenConfig
from trilith.hw.token.image import compile_image
from trilith.hw.token.image_file import read_image
from trilith.hw.token.program import FIELDS, FLAGS, INSTRUCTION_BYTES, Op

from . import naive
from .binary import safetensors_bytes, safetensors_tree
from .campaign import Target
from .checkpoints import CONFIG, dump_folder, one_file
from .mutation import Object, integer, items, pairs, text, to_json

#: Version of the format that the cases have.
_VERSION = "4"

_CORE = TokenConfig(
    engine=MatVecConfig(lanes=5, rows=2, k_max=12, n_max=12),
    vector_lanes=1,
    attention_lanes=4,
    memory_width=64,
    hidden_max=8,
    ffn_max=12,
    heads_max=2,
    kv_heads_max=1,
    head_size_max=4,
    context_max=16,
    vocabulary_max=3,
)


def _tree() -> Object:
    """Metadata, instructions, the memory behind them, and weights of a small model."""
    with TemporaryDirectory() as name:
        for file, data in dump_folder(one_file("packed", CONFIG)).items():
            (Path(name) / file).write_bytes(data)
        image = compile_image(CoreModel(model=BitNetModel.load(Path(name))), _CORE, name="tiny")
    size = len(image.program) * INSTRUCTION_BYTES
    code = image.memory[:size].tobytes()
    words = struct.iter_unpack(f"<{INSTRUCTION_BYTES // 4}I", code)
    program = [[head & 255, head >> 8, list(fields)] for head, *fields in words]
    metadata = {
        "format": "trilith token core image",
        "version": _VERSION,
        "config": Object.of(asdict(image.config)),
        "model": image.model,
        "model_digest": image.model_digest,
        "program_words": str(image.program_words),
        "content_digest": None,
    }
    header = safetensors_tree({"memory": image.memory, "weights": image.weights}).get("header")
    return Object(
        [
            ["metadata", Object([key, value] for key, value in metadata.items())],
            ["tensors", Object(header[1:])],
            ["program", program],
            ["memory", image.memory[size:].tobytes()],
            ["weights", image.weights.tobytes()],
        ]
    )


def _dump(tree: Any) -> dict[str, bytes]:
    """The file; a digest of the content that is None is the right one."""
    tree = tree if isinstance(tree, Object) else Object()
    code = b""
    for one in items(tree.get("program")):
        op, flags, fields = (*items(one), 0, 0, 0)[:3]
        words = [integer(op, 8) | integer(flags, 24) << 8]
        words += [integer(field, 32) for field in items(fields)]
        code += struct.pack(f"<{len(words)}I", *words)
    memory, weights = code + text(tree.get("memory")), text(tree.get("weights"))
    texts = Object()
    for key, value in pairs(tree.get("metadata")):
        texts.append([key, to_json(value) if key == "config" else value])
    config = next((value for key, value in texts if key == "config"), "")
    digest = hashlib.sha256(config.encode() + memory + weights).hexdigest()
    texts = Object(
        [key, digest if (key, value) == ("content_digest", None) else value] for key, value in texts
    )
    header = Object([["__metadata__", texts], *map(list, pairs(tree.get("tensors")))])
    whole = Object([["length", None], ["header", header], ["data", [memory, weights]]])
    return {"tiny.image": safetensors_bytes(whole)}


def _read(folder: Path) -> dict[str, Any]:
    image = read_image(folder / "tiny.image")
    return {
        "config": json.loads(json.dumps(asdict(image.config))),
        "model": [image.model, image.model_digest],
        "memory": np.array(image.memory),
        "weights": np.array(image.weights),
        "program": [[int(one.op), sorted(one.flags), dict(one.fields)] for one in image.program],
    }


def _naive(folder: Path) -> dict[str, Any]:
    """All parts as they stand; each request that the core would send must be legal."""
    data = (folder / "tiny.image").read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    texts = json.loads(data[8 : 8 + size], object_pairs_hook=naive.once)["__metadata__"]
    tensors = naive.safetensors(data)
    assert tensors.keys() == {"memory", "weights"}
    assert (texts["format"], texts["version"]) == ("trilith token core image", _VERSION)
    memory, weights = tensors["memory"], tensors["weights"]
    content = texts["config"].encode() + memory.tobytes() + weights.tobytes()
    assert hashlib.sha256(content).hexdigest() == texts["content_digest"]
    config = json.loads(texts["config"])
    word = config["memory_width"] // 8
    assert weights.shape[1] == -(-config["engine"]["lanes"] * config["engine"]["rows"] // 5)
    code = memory[: int(texts["program_words"]) * word].tobytes()
    program = []
    for head, *words in struct.iter_unpack("<16I", code):
        names = FIELDS[Op(head & 255)]
        assert not any(words[len(names) :])
        flags = sorted(flag for bit, flag in enumerate(FLAGS) if head >> (8 + bit) & 1)
        program.append([head & 255, flags, dict(zip(names, words, strict=False))])
    assert program[-1][0] == Op.END
    _check_requests(config, program, len(memory), len(weights))
    return {
        "config": config,
        "model": [texts["model"], texts["model_digest"]],
        "memory": memory,
        "weights": weights,
        "program": program,
    }


def _check_requests(config: dict, program: list, memory: int, beats: int) -> None:
    """Requests of a token at the first and at the last position, as the sequencer sends them."""
    word, lanes = config["memory_width"] // 8, config["vector_lanes"]
    stream, rest = config["hidden_max"], config["heads_max"] + 2 * config["kv_heads_max"]
    work = max(config["ffn_max"], rest * config["head_size_max"])
    depth = -(-stream // lanes) + -(-work // lanes)
    setup = SimpleNamespace(**program[0][2])

    def ask(address: int, words: int) -> None:
        assert address % word == 0
        assert words >= 1
        assert address + words * word <= memory

    def elements(address: int, count: int) -> None:
        ask(address, -(-4 * count // word))

    def vector(place: int, count: int) -> None:
        assert place + -(-count // lanes) <= depth

    for position in (0, setup.context - 1):
        for number, flags, fields in program:
            one = SimpleNamespace(**fields)
            if number == Op.ANGLES:
                elements(one.address + position * setup.angle_bytes, one.words * lanes)
            elif number == Op.EMBED:
                token = setup.vocabulary - 1
                ask(one.rows + token * setup.embedding_bytes, one.row_words)
                assert one.row_words * word >= one.count
                elements(one.scales, token + 1)
                vector(one.destination, one.count)
            elif number == Op.PRODUCT:
                assert one.beats >= 1
                assert one.first_beat + one.beats <= beats
                for name, flag, count in (
                    ("gains", "gained", one.k),
                    ("peak_gains", "peak_gained", one.n),
                ):
                    if flag in flags:
                        elements(fields[name], count)
                if "table" in flags:
                    ask(one.scales, one.scale_words)
                vector(one.destination, one.n)
            elif number == Op.HEADS:
                vector(one.source, one.heads * 2 * one.half * lanes)
                if "cache" in flags:
                    last = one.rows + (one.heads - 1) * one.step
                    ask(last + position * setup.cache_bytes, setup.cache_bytes // word)
            elif number == Op.ATTEND:
                for group in range(one.groups):
                    start = one.address + group * (one.scale_step + 2 * one.row_step)
                    # A chunk has a position for each segment; chunks are read as a whole.
                    lanes_of_head = max(1 << (config["head_size_max"] - 1).bit_length(), word)
                    segments = max(1, config["attention_lanes"] // lanes_of_head)
                    positions = -(-(position + 1) // segments) * segments
                    elements(start, 2 * positions)
                    words = positions * setup.cache_bytes // word
                    ask(start + one.scale_step, words)
                    ask(start + one.scale_step + one.row_step, words)
                vector(one.destination, one.count)
            elif number == Op.HEAD:
                ask(one.address, one.scale_words)
                ask(one.address + one.scale_step, one.row_words)


TARGETS = [
    Target(
        name="image",
        tree=_tree(),
        dump=_dump,
        read=_read,
        naive=_naive,
        share=30_000,
    ),
]
