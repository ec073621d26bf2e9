# amaranth: UnusedElaboratable=no
"""The exported packers: Python against the golden model, and C against Python."""

import json
import shutil
import subprocess
from collections.abc import Callable
from itertools import product
from math import ceil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from trilith.golden import CODES
from trilith.golden.matmul import activation_range
from trilith.hw import MatVecConfig, MatVecEngine
from trilith.hw.beats import activation_beats, weight_beats
from trilith.hw.engine.loader import job_layout
from trilith.hw.export.description import describe
from trilith.hw.export.packing import packing_texts
from trilith.hw.jobs import Job, JobShape, golden_beats, golden_results, job_word

#: Shapes with whole and partial symbols, rows and last bytes.
SHAPES = [
    {"lanes": 8, "rows": 5},
    {"lanes": 12, "rows": 3, "tokens": 2, "act_bits": 4},
    {"lanes": 20, "rows": 1, "tokens": 3, "act_bits": 2},
]
CONFIGS = [
    MatVecConfig(code=code, k_max=50, n_max=19, **shape) for code in CODES for shape in SHAPES
] + [
    MatVecConfig(lanes=7, rows=2, code=code, k_max=50, n_max=19)
    for code in CODES
    if CODES[code].span == 1
]

every_config = pytest.mark.parametrize(
    "config", CONFIGS, ids=lambda config: f"{config}-{config.code}"
)


def texts(config: MatVecConfig, *, axi: bool = False) -> tuple[str, str]:
    header, module = packing_texts(config, top="line", stem="line", axi=axi)
    return header, module


def packer(config: MatVecConfig, *, axi: bool = False) -> SimpleNamespace:
    names: dict = {}
    exec(compile(texts(config, axi=axi)[1], "line_pack.py", "exec"), names)
    return SimpleNamespace(**{key: value for key, value in names.items() if key[:2] != "__"})


def jobs(config: MatVecConfig) -> list[Job]:
    rng, (low, high) = np.random.default_rng(3), activation_range(config.act_bits)
    return [
        Job(
            trits=CODES[config.code].random(rng, (n, k)),
            activations=rng.integers(low, high + 1, (config.tokens, k), np.int8),
            group_chunks=group_chunks,
        )
        for n, k, group_chunks in (
            (config.rows, config.lanes, 0),
            (config.rows + 1, config.lanes + 1, 0),
            (1, 1, 0),
            (config.n_max, config.k_max, 2),
            (2, 2 * config.lanes + 3, 1),
        )
    ]


@every_config
def test_python_against_the_golden_model(config: MatVecConfig) -> None:
    line = packer(config)
    assert config.weight_bytes == line.WEIGHT_BYTES
    assert -(-job_layout(config).size // 8) == line.JOB_BYTES
    for job in jobs(config):
        shape = job.shape
        beats = line.pack_weights(job.trits.tolist())
        assert beats == [beat.tobytes() for beat in weight_beats(config, job.trits)]
        beats = line.pack_activations(job.activations.tolist())
        assert beats == [beat.tobytes() for beat in activation_beats(config, job.activations)]
        word = line.pack_job(shape.n, shape.k, shape.tokens, shape.group_chunks)
        assert word == job_word(config, shape)
        reuse = JobShape(n=shape.n, k=shape.k, tokens=1, reuse=True)
        assert line.pack_job(shape.n, shape.k, reuse=True) == job_word(config, reuse)


@pytest.mark.parametrize("axi", [False, True], ids=["engine", "axi"])
@every_config
def test_that_python_unpacks_results(config: MatVecConfig, axi: bool) -> None:
    line, bits = packer(config, axi=axi), 32 if axi else config.acc_width
    for job in jobs(config):
        shape = job.shape
        y = golden_results(config, job).reshape(-1, shape.tokens, shape.n)
        beats = []
        for first in range(0, shape.n, config.rows):
            for part, token in product(range(len(y)), range(shape.tokens)):
                rows = y[part, token, first : first + config.rows].tolist()
                number = sum((value % 2**bits) << bits * row for row, value in enumerate(rows))
                # The top bit of an engine's beat is its flag ``last``.
                number |= (not axi) << bits * config.rows
                beats.append(number.to_bytes(line.RESULT_BYTES, "little"))
        sizes = (shape.n, shape.k, shape.tokens, shape.group_chunks)
        assert line.unpack_results(beats, *sizes) == y.tolist()


def stream_beats(config: MatVecConfig, job: Job) -> dict[str, np.ndarray]:
    """Beats of each stream; those of results as the values of their rows."""
    return {
        "activations": activation_beats(config, job.activations),
        "weights": weight_beats(config, job.trits),
        "results": golden_beats(config, job),
    }


@every_config
def test_that_the_description_counts_and_orders_the_beats(config: MatVecConfig) -> None:
    """Each beat is that of the small job that the indices of ``order`` cut out."""
    streams = describe(MatVecEngine(config), "line")["streams"]
    for job in jobs(config):
        (n, k), tokens = job.trits.shape, len(job.activations)
        chunks = ceil(k / config.lanes)
        names = {"N": n, "T": tokens, "C": chunks, "c": min(job.group_chunks or chunks, chunks)}
        counts = {
            "group of rows": ceil(n / config.rows),
            "token": tokens,
            "chunk": chunks,
            "partial result": ceil(chunks / names["c"]),
        }
        for stream, beats in stream_beats(config, job).items():
            formula, order = streams[stream]["beats_of_a_job"], streams[stream]["order"]
            assert eval(formula, {"ceil": ceil, "rows": config.rows, **names}) == len(beats)
            places = list(product(*(range(counts[name]) for name in order)))
            for beat, place in zip(beats, places, strict=True):
                at = dict(zip(order, place, strict=True))
                row, token = at.get("group of rows", 0) * config.rows, at.get("token", 0)
                width = config.lanes * (names["c"] if stream == "results" else 1)
                first = at.get("chunk", at.get("partial result", 0)) * width
                cut = Job(
                    trits=job.trits[row : row + config.rows, first : first + width],
                    activations=job.activations[token : token + 1, first : first + width],
                )
                (alone,) = stream_beats(config, cut)[stream]
                assert beat.tolist() == alone.tolist()
        assert streams["activations"]["beats_of_a_job_with_reuse"] == "0"


#: Prints what the functions of the header give for the job in the file ``job``: n, k, tokens and
#: group_chunks in 32 bits each, then w and x. Results are unpacked from the bytes of the beats.
PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
#include "line_pack.h"

static void print(const char *name, const uint8_t *bytes, size_t count)
{
    printf("%s ", name);
    for (size_t i = 0; i < count; i++)
        printf("%02x", bytes[i]);
    printf("\\n");
}

int main(int argc, char **argv)
{
    for (int job = 1; job < argc; job++) {
        FILE *file = fopen(argv[job], "rb");
        uint32_t s[4];
        if (!file || fread(s, 4, 4, file) != 4)
            return 2;
        size_t n = s[0], k = s[1], tokens = s[2];
        int8_t *w = (int8_t *)malloc(n * k), *x = (int8_t *)malloc(tokens * k);
        if (fread(w, 1, n * k, file) != n * k || fread(x, 1, tokens * k, file) != tokens * k)
            return 2;
        fclose(file);
        size_t weights = line_weight_beats(n, k) * LINE_WEIGHT_BYTES;
        size_t activations = line_activation_beats(k, tokens) * LINE_ACTIVATION_BYTES;
        size_t results = line_result_beats(n, k, tokens, s[3]) * LINE_RESULT_BYTES;
        size_t size = weights + activations + results;
        /* Packers must set every byte. */
        uint8_t *beats = (uint8_t *)malloc(size);
        memset(beats, 0xa5, size);
        printf("w %d\\n", line_pack_weights(w, n, k, beats));
        print("weights", beats, weights);
        printf("x %d\\n", line_pack_activations(x, tokens, k, beats));
        print("activations", beats, activations);
#ifdef LINE_JOB_BYTES
        printf("job %llu\\n",
               (unsigned long long)line_pack_job(s[0], s[1], s[2], s[3], job % 2));
#endif
        for (size_t i = 0; i < results; i++)
            beats[i] = (uint8_t)(i * 37 + 11);
        int32_t *y = (int32_t *)malloc(line_partial_results(k, s[3]) * tokens * n * 4);
        line_unpack_results(beats, n, k, tokens, s[3], y);
        printf("y");
        for (size_t i = 0; i < line_partial_results(k, s[3]) * tokens * n; i++)
            printf(" %d", (int)y[i]);
        printf("\\n");
        free(w); free(x); free(beats); free(y);
    }
    return 0;
}
"""

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")

STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow")


def compile_c(folder: Path, compiler: str = "gcc", standard: str = "c99") -> None:
    (folder / "main.c").write_text(PROGRAM)
    language = ("-x", "c++") if compiler == "g++" else ()
    flags = (f"-std={standard}", *STRICT, "-fsanitize=undefined,address", *language)
    done = subprocess.run(
        [compiler, *flags, "main.c", "-o", "main"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def run_c(folder: Path, operands: list[tuple[list[int], np.ndarray, np.ndarray]]) -> list[str]:
    names = []
    for index, (sizes, trits, activations) in enumerate(operands):
        data = np.array(sizes, "<u4").tobytes() + trits.tobytes() + activations.tobytes()
        (folder / f"job{index}").write_bytes(data)
        names.append(f"job{index}")
    done = subprocess.run(
        [folder / "main", *names], cwd=folder, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@needs_gcc
@pytest.mark.parametrize("axi", [False, True], ids=["engine", "axi"])
@pytest.mark.parametrize("code", CODES)
def test_c_against_python(code: str, axi: bool, tmp_path: Path) -> None:
    for config in (config for config in CONFIGS if config.code == code):
        line = packer(config, axi=axi)
        (tmp_path / "line_pack.h").write_text(texts(config, axi=axi)[0])
        compile_c(tmp_path)
        operands, expected = [], []
        for index, job in enumerate(jobs(config), 1):
            shape = job.shape
            sizes = [shape.n, shape.k, shape.tokens, shape.group_chunks]
            operands.append((sizes, job.trits, job.activations))
            beats = b"".join(line.pack_weights(job.trits.tolist())).hex()
            expected += ["w 0", f"weights {beats}", "x 0"]
            beats = b"".join(line.pack_activations(job.activations.tolist())).hex()
            expected.append(f"activations {beats}")
            if not axi:
                expected.append(f"job {line.pack_job(*sizes, reuse=index % 2)}")
            size = shape.result_beats(config) * line.RESULT_BYTES
            data = bytes((37 * i + 11) % 256 for i in range(size))
            parts = [data[at : at + line.RESULT_BYTES] for at in range(0, size, line.RESULT_BYTES)]
            y = np.array(line.unpack_results(parts, *sizes)).ravel().tolist()
            expected.append(" ".join(["y", *map(str, y)]))
        assert run_c(tmp_path, operands) == expected


@needs_gcc
def test_that_the_header_is_cpp_too(tmp_path: Path) -> None:
    (tmp_path / "line_pack.h").write_text(texts(CONFIGS[0])[0])
    compile_c(tmp_path, "g++", "c++11")


@needs_gcc
def test_what_c_refuses(tmp_path: Path) -> None:
    config = MatVecConfig(lanes=8, rows=1, act_bits=4, code="sherry", k_max=8, n_max=1)
    (tmp_path / "line_pack.h").write_text(texts(config)[0])
    compile_c(tmp_path)
    legal, x = np.array([[0, 1, 1, 1, -1, 0, 1, 1]], np.int8), np.zeros((1, 8), np.int8)
    no_zero = np.ones((1, 8), np.int8)
    no_trit = legal * 2
    cases = [
        ([1, 8, 1, 0], legal, x),
        ([1, 8, 1, 0], no_zero, x),
        ([1, 8, 1, 0], no_trit, x + 8),
        ([1, 8, 1, 2], legal, x - 9),
    ]
    lines = run_c(tmp_path, cases)
    assert [line for line in lines if line[:2] == "w "] == ["w 0", "w -1", "w -1", "w 0"]
    assert [line for line in lines if line[:2] == "x "] == ["x 0", "x 0", "x -1", "x -1"]
    words = [line for line in lines if line.startswith("job ")]
    # ``group_chunks`` is at most 1 here.
    assert [word == "job 0" for word in words] == [False, False, False, True]


#: Message of rows that are no matrix.
UNEQUAL = "all rows must have the same length, 1 or more"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda line: line.pack_job(20, 1), "n must be from 1 to 19, not 20"),
        (lambda line: line.pack_job(1, 0), "k must be from 1 to 50, not 0"),
        (lambda line: line.pack_job(1, 1, 3), "tokens must be from 1 to 2, not 3"),
        (lambda line: line.pack_job(1, 1, 1, 6), "group_chunks must be from 0 to 5, not 6"),
        (lambda line: line.pack_weights([[1, 2]]), "w[0][1] must be -1, 0 or 1, not 2"),
        (
            lambda line: line.pack_weights([[0, 0]]),
            "the code sherry has no symbol for the trits [0, 0, -1, -1]",
        ),
        (lambda line: line.pack_activations([[8]]), "an activation must be from -8 to 7, not 8"),
        *(
            (lambda line, pack=pack, rows=rows: getattr(line, pack)(rows), UNEQUAL)
            for pack in ("pack_weights", "pack_activations")
            for rows in ([], [[]], [[], []], [[0, 1], [0]], [[0], [0, 1]], np.zeros((2, 0), int))
        ),
        (lambda line: line.unpack_results([], 20, 1), "n must be from 1 to 19, not 20"),
        (lambda line: line.unpack_results([], 1, 51), "k must be from 1 to 50, not 51"),
        (lambda line: line.unpack_results([], 1, 1, 0), "tokens must be from 1 to 2, not 0"),
        (
            lambda line: line.unpack_results([], 1, 1, 1, -1),
            "group_chunks must be from 0 to 5, not -1",
        ),
        *(
            (
                lambda line, beats=beats: line.unpack_results([b"1234"] * beats, 4, 13, 2, 1),
                f"the number of beats must be 8 for these sizes, not {beats}",
            )
            for beats in (0, 7, 9)
        ),
        *(
            (
                lambda line, size=size: line.unpack_results([b"1234", bytes(size)], 4, 1),
                f"beats[1] must have 4 bytes, not {size}",
            )
            for size in (0, 3, 5)
        ),
    ],
)
def test_what_python_refuses(call: Callable, message: str) -> None:
    config = MatVecConfig(lanes=12, rows=3, tokens=2, act_bits=4, code="sherry", k_max=50, n_max=19)
    with pytest.raises(ValueError) as error:
        call(packer(config))
    assert str(error.value) == message


@pytest.mark.parametrize(
    "call",
    [
        lambda line: line.pack_job(1.0, 1),
        lambda line: line.pack_job(1, 1, "1"),
        lambda line: line.pack_activations([[1.7]]),
        lambda line: line.pack_activations(np.zeros((1, 3))),
        lambda line: line.pack_weights([[1.0]]),
        lambda line: line.pack_weights(np.ones((1, 3))),
        lambda line: line.unpack_results([bytes(5)], 1, 1.0),
        # One value of bytes is no list of beats.
        lambda line: line.unpack_results(bytes(5), 1, 1),
    ],
)
def test_that_python_takes_integers_and_bytes_only(call: Callable) -> None:
    config = MatVecConfig(lanes=12, rows=3, tokens=2, act_bits=4, k_max=50, n_max=19)
    with pytest.raises(TypeError):
        call(packer(config))


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.int64])
def test_that_integers_of_numpy_are_those_of_python(kind: type[np.integer]) -> None:
    """Narrow ones overflow where they are shifted or negated."""
    config = MatVecConfig(lanes=7, rows=2, tokens=3, k_max=100, n_max=60)
    line = packer(config)
    for job in jobs(config):
        shape = job.shape
        sizes = (shape.n, shape.k, shape.tokens, shape.group_chunks)
        narrow = tuple(kind(size) for size in sizes)
        assert line.chunks(narrow[1]) == line.chunks(shape.k)
        for reuse in (False, True):
            assert line.pack_job(*narrow, np.bool_(reuse)) == line.pack_job(*sizes, reuse)
        trits, x = job.trits, job.activations
        if kind is np.uint8:
            trits, x = abs(trits), np.abs(x.astype(int)) % 128
        beats = line.pack_weights(trits.tolist())
        assert line.pack_weights(trits.astype(kind)) == beats
        assert line.pack_activations(x.astype(kind)) == line.pack_activations(x.tolist())
        count = shape.result_beats(config)
        results = np.random.default_rng(5).integers(256, size=(count, line.RESULT_BYTES))
        array = results.astype(np.uint8)
        y = line.unpack_results([bytes(beat) for beat in array], *sizes)
        assert line.unpack_results(array, *narrow) == y


@pytest.mark.parametrize("act_bits", [8, 4, 2])
@pytest.mark.parametrize("code", CODES)
def test_that_the_packers_make_the_worked_example(code: str, act_bits: int) -> None:
    engine = MatVecEngine(
        MatVecConfig(lanes=8, rows=1, code=code, act_bits=act_bits, k_max=8, n_max=8)
    )
    example = json.loads(json.dumps(describe(engine, "line")["example"]))
    line = packer(MatVecConfig(**example["parameters"]))
    trits, x = np.array(example["trits"]), np.array(example["activations"])
    assert (trits.shape, x.shape, abs(trits).max()) == ((2, 9), (1, 9), 1)
    assert example["results"] == (x @ trits.T).tolist()
    beats = {
        name: [bytes.fromhex(beat) for beat in beats] for name, beats in example["beats"].items()
    }
    assert line.pack_weights(trits.tolist()) == beats["weights"]
    assert line.pack_activations(x.tolist()) == beats["activations"]
    assert line.pack_job(2, 9).to_bytes(line.JOB_BYTES, "little") == beats["jobs"][0]
    assert example["job"] == {"n": 2, "k": 9, "tokens": 1, "group_chunks": 0, "reuse": 0}
    assert line.unpack_results(beats["results"], 2, 9) == [example["results"]]
