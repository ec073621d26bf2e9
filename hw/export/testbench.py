"""Writes a self-checking Verilog testbench for an engine, its vectors taken from golden."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from amaranth.lib import data
from numpy.typing import NDArray

from ...golden.codes import CODES
from ...golden.matmul import ternary_matmul
from ..beats import activation_beats, weight_beats
from ..config import MatVecConfig
from ..engine.loader import activations_shape, job_shape
from ..engine.results import results_shape
from ..engine.timing import EngineTiming, JobShape, job_times

__all__ = ["ExampleJob", "example_jobs", "example_trits", "selfcheck_verilog", "worked_example"]


@dataclass(frozen=True, kw_only=True)
class ExampleJob:
    """A job of the testbench.

    Parameters
    ----------
    trits : int8[N, K]
    activations : int8[T, K]
    group_chunks : 0, or a partial result every so many chunks
    reuse : the activations are those of the job before
    """

    trits: NDArray[np.int8]
    activations: NDArray[np.int8]
    group_chunks: int = 0
    reuse: bool = False

    @property
    def shape(self) -> JobShape:
        """The job without its operands."""
        n, k = self.trits.shape
        return JobShape(
            n=n,
            k=k,
            tokens=len(self.activations),
            group_chunks=self.group_chunks,
            reuse=self.reuse,
        )


def example_jobs(config: MatVecConfig) -> list[ExampleJob]:
    """Whole and partial shapes, reuse, scale groups, extreme values, groups shorter than tokens.

    Small enough to be read: at most some hundred beats. The same for the same configuration.
    """
    rng = np.random.default_rng(20)
    low = -1 if config.act_bits == 2 else -(2 ** (config.act_bits - 1))
    high = 2 ** (config.act_bits - 1) - 1

    def job(n: int, k: int, tokens: int = config.tokens, group_chunks: int = 0) -> ExampleJob:
        n, k = min(n, config.n_max), min(k, config.k_max)
        return ExampleJob(
            trits=rng.choice(np.array(CODES[config.code].values, np.int8), (n, k)),
            activations=rng.integers(low, high + 1, (tokens, k), np.int8),
            group_chunks=min(group_chunks, config.max_chunks),
        )

    lanes, rows = config.lanes, config.rows
    partial = job(rows + 1, lanes + lanes // 2)
    again = job(2 * rows + 1, lanes + lanes // 2)
    extreme_k = min(4 * lanes, config.k_max)
    return [
        job(2 * rows, 2 * lanes),
        partial,
        ExampleJob(trits=again.trits, activations=partial.activations, reuse=True),
        job(1, 1, 1),
        job(rows, 3 * lanes - 1, group_chunks=2),
        job(4 * rows - 1, lanes, group_chunks=1),
        ExampleJob(
            trits=np.full((min(rows, config.n_max), extreme_k), -1, np.int8),
            activations=np.full((config.tokens, extreme_k), low, np.int8),
        ),
    ]


def example_trits(code: str) -> list[list[int]]:
    """The two rows of the worked example; a code without zero has +1 in its place."""
    rows = [[1, 0, -1, 1, 1, -1, 0, 1, -1], [-1, -1, 0, 0, 1, 1, 1, 0, 1]]
    return [[t if t in CODES[code].values else 1 for t in row] for row in rows]


def worked_example(code: str) -> list[bytes]:
    """The weight beats of ``example_trits`` on an engine of 7 lanes and 2 rows."""
    config = MatVecConfig(lanes=7, rows=2, code=code, k_max=9, n_max=2)
    return [beat.tobytes() for beat in weight_beats(config, np.array(example_trits(code), np.int8))]


def _results(
    config: MatVecConfig, job: ExampleJob
) -> list[tuple[list[int], bool, tuple[int, ...]]]:
    """Of each result beat: values, ``last``, and first output, partial result and token."""
    n, k = job.trits.shape
    size = (job.group_chunks or config.max_chunks) * config.lanes
    parts = [
        ternary_matmul(job.trits[:, at : at + size], job.activations[:, at : at + size])
        for at in range(0, k, size)
    ]
    beats = []
    for first in range(0, n, config.rows):
        for partial, part in enumerate(parts):
            for token, row in enumerate(part):
                values = [int(value) for value in row[first : first + config.rows]]
                values += [0] * (config.rows - len(values))
                beats.append((values, False, (first, partial, token)))
    values, _, place = beats[-1]
    return [*beats[:-1], (values, True, place)]


def _numbers(beats: NDArray[np.uint8]) -> list[int]:
    return [int.from_bytes(beat.tobytes(), "little") for beat in beats]


def _table(name: str, width: int, values: Sequence[int]) -> str:
    digits = -(-width // 4)
    lines = [f"  reg [{width - 1}:0] {name} [0:{len(values) - 1}];", "  initial begin"]
    lines += [f"    {name}[{i}] = {width}'h{v:0{digits}x};" for i, v in enumerate(values)]
    return "\n".join([*lines, "  end"])


def _packed(layout: data.StructLayout, fields: dict[str, int]) -> int:
    return sum(value << layout[name].offset for name, value in fields.items())


def selfcheck_verilog(
    config: MatVecConfig,
    *,
    top: str,
    timing: EngineTiming,
    stem: str,
    jobs: Sequence[ExampleJob] | None = None,
) -> str:
    """A Verilog-2005 testbench ``<top>_tb`` that needs no other file than the engine's.

    It runs the jobs twice: first without gaps, measuring the first job's clocks, then with gaps on
    every stream. It prints PASS, or FAIL with the first difference, and ends.

    Parameters
    ----------
    config : the engine's
    top : the engine's module
    timing : the engine's latencies
    stem : the engine stands in ``<stem>.v``; only comments say so
    jobs : by default ``example_jobs``
    """
    if jobs is None:
        jobs = example_jobs(config)
    layout, result_layout = job_shape(config), results_shape(config)
    words = [
        _packed(
            layout,
            {
                "n": job.trits.shape[0],
                "k": job.trits.shape[1],
                "tokens": len(job.activations),
                "group_chunks": job.group_chunks,
                "reuse": int(job.reuse),
            },
        )
        for job in jobs
    ]
    activations = [
        beat
        for job in jobs
        if not job.reuse
        for beat in _numbers(activation_beats(config, job.activations))
    ]
    weights = [beat for job in jobs for beat in _numbers(weight_beats(config, job.trits))]
    results, places = [], []
    mask = 2**config.acc_width - 1
    for index, job in enumerate(jobs):
        for values, last, (first, partial, token) in _results(config, job):
            word = sum((value & mask) << row * config.acc_width for row, value in enumerate(values))
            results.append(word | last << result_layout["last"].offset)
            places.append(index << 96 | first << 64 | partial << 32 | token)
    counts = (len(words), len(activations), len(weights), len(results))
    # In the second run a beat waits four clocks on average; a hundred are a hang.
    limit = 1000 + 100 * sum(counts) + 100 * timing.latency
    tables = "\n".join(
        [
            _table("job_words", layout.size, words),
            _table("activation_words", activations_shape(config).size, activations),
            _table("weight_words", 8 * config.weight_bytes, weights),
            _table("result_words", result_layout.size, results),
            "  // Job, first output, partial result and token of each result beat.",
            _table("places", 128, places),
        ]
    )
    return _TEMPLATE.format(
        top=top,
        source=f"{stem}.v",
        stem=stem,
        tables=tables,
        job_bits=layout.size,
        activation_bits=activations_shape(config).size,
        weight_bits=8 * config.weight_bytes,
        result_bits=result_layout.size,
        jobs=counts[0],
        activations=counts[1],
        weights=counts[2],
        results=counts[3],
        first_last=sum(place >> 96 == 0 for place in places) - 1,
        cycles=next(job_times(config, [jobs[0].shape], timing=timing)).cycles,
        limit=limit,
        rows=config.rows,
        acc_width=config.acc_width,
        last_bit=result_layout["last"].offset,
    )


_TEMPLATE = """\
// Self-checking testbench of {source}, Verilog-2005. It reads no files.
//   $ iverilog -g2005 -o tb {source} {stem}_tb.v && vvp tb
//   $ verilator --binary --timing --top-module {top}_tb {source} {stem}_tb.v
// It prints "PASS", or "FAIL: " and the first difference, and ends; the exit status says nothing.
// SPDX-License-Identifier: Apache-2.0

module {top}_tb;
  localparam JOBS = {jobs}, ACTIVATIONS = {activations}, WEIGHTS = {weights}, RESULTS = {results};
  localparam ROWS = {rows}, ACC_WIDTH = {acc_width}, LAST_BIT = {last_bit};
  localparam CYCLE_LIMIT = {limit};
  // Of job 0, alone and without gaps, up to its last result beat.
  localparam FIRST_JOB_LAST_BEAT = {first_last}, FIRST_JOB_CYCLES = {cycles};

{tables}

  reg clk;
  initial clk = 0;
  always #5 clk = !clk;

  reg rst;
  reg jobs_valid, activations_valid, weights_valid, results_ready;
  reg [{job_bits}-1:0] job;
  reg [{activation_bits}-1:0] activation;
  reg [{weight_bits}-1:0] weight;
  wire jobs_ready, activations_ready, weights_ready, results_valid, busy, error;
  wire [{result_bits}-1:0] result;

  {top} engine (
    .clk(clk), .rst(rst),
    .jobs__valid(jobs_valid), .jobs__ready(jobs_ready), .jobs__payload(job),
    .activations__valid(activations_valid), .activations__ready(activations_ready),
    .activations__payload(activation),
    .weights__valid(weights_valid), .weights__ready(weights_ready), .weights__payload(weight),
    .results__valid(results_valid), .results__ready(results_ready), .results__payload(result),
    .busy(busy), .error(error), .faults()
  );

  integer clocks, started, jobs_sent, activations_sent, weights_sent, received, row;
  reg with_gaps, job_seen, done;
  reg [31:0] noise;
  reg [{result_bits}-1:0] wanted;
  reg [127:0] place;
  reg signed [ACC_WIDTH-1:0] wanted_value, got_value;

  initial begin
    rst = 1;
    jobs_valid = 0;
    activations_valid = 0;
    weights_valid = 0;
    results_ready = 0;
    job = 0;
    activation = 0;
    weight = 0;
    clocks = 0;
    started = 0;
    jobs_sent = 0;
    activations_sent = 0;
    weights_sent = 0;
    received = 0;
    with_gaps = 0;
    job_seen = 0;
    done = 0;
    noise = 32'h2545f491;
  end

  // What the engine sees changes only by nonblocking assignments, so that nothing races.
  always @(posedge clk) begin
    clocks <= clocks + 1;
    rst <= clocks < 4;
    noise <= {{noise[30:0], noise[31] ^ noise[21] ^ noise[1] ^ noise[0]}};
    if (!rst && !done) begin
      if (!jobs_valid || jobs_ready) begin
        // Job 0 runs alone first, so that its clocks can be counted.
        jobs_valid <= jobs_sent < JOBS && (with_gaps ? noise[1:0] == 0
                      : jobs_sent == 0 || received > FIRST_JOB_LAST_BEAT);
        if (jobs_sent < JOBS && (with_gaps ? noise[1:0] == 0
            : jobs_sent == 0 || received > FIRST_JOB_LAST_BEAT)) begin
          job <= job_words[jobs_sent];
          jobs_sent <= jobs_sent + 1;
        end
      end
      if (!activations_valid || activations_ready) begin
        activations_valid <= activations_sent < ACTIVATIONS && (!with_gaps || noise[3:2] == 0);
        if (activations_sent < ACTIVATIONS && (!with_gaps || noise[3:2] == 0)) begin
          activation <= activation_words[activations_sent];
          activations_sent <= activations_sent + 1;
        end
      end
      if (!weights_valid || weights_ready) begin
        weights_valid <= weights_sent < WEIGHTS && (!with_gaps || noise[5:4] != 0);
        if (weights_sent < WEIGHTS && (!with_gaps || noise[5:4] != 0)) begin
          weight <= weight_words[weights_sent];
          weights_sent <= weights_sent + 1;
        end
      end
      results_ready <= !with_gaps || noise[8:6] == 0;

      if (jobs_valid && jobs_ready && !job_seen) begin
        job_seen <= 1;
        started <= clocks;
      end
      if (results_valid && results_ready) begin
        received <= received + 1;
        if (received == RESULTS) fail_extra;
        else begin
          wanted = result_words[received];
          place = places[received];
          if (result !== wanted) fail_beat;
          else if (!with_gaps && received == FIRST_JOB_LAST_BEAT
                   && clocks - started + 1 != FIRST_JOB_CYCLES) begin
            $display("FAIL: job 0 must take %0d clocks and took %0d", FIRST_JOB_CYCLES,
                     clocks - started + 1);
            finish;
          end
        end
      end else if (error) begin
        $display("FAIL: the engine set error in clock %0d", clocks);
        finish;
      end else if (clocks > CYCLE_LIMIT) begin
        $display("FAIL: %0d of %0d result beats after %0d clocks (run %0d of 2)", received, RESULTS,
                 clocks, with_gaps + 1);
        finish;
      end else if (received == RESULTS && !busy) begin
        if (with_gaps) begin
          $display("PASS");
          finish;
        end else begin
          with_gaps <= 1;
          jobs_sent <= 0;
          activations_sent <= 0;
          weights_sent <= 0;
          received <= 0;
        end
      end
    end
  end

  task finish;
    begin
      done <= 1;
      $finish;
    end
  endtask

  task fail_extra;
    begin
      $display("FAIL: a result beat after the last one, in clock %0d", clocks);
      finish;
    end
  endtask

  // Prints the first row that differs.
  task fail_beat;
    reg found;
    begin
      found = 0;
      for (row = 0; row < ROWS; row = row + 1) begin
        wanted_value = wanted[row * ACC_WIDTH +: ACC_WIDTH];
        got_value = result[row * ACC_WIDTH +: ACC_WIDTH];
        if (!found && got_value !== wanted_value) begin
          found = 1;
          $write("FAIL: job %0d, output %0d, partial result %0d, token %0d: ",
                 place[127:96], place[95:64] + row, place[63:32], place[31:0]);
          $display("expected %0d, got %0d", wanted_value, got_value);
        end
      end
      if (!found) begin
        $write("FAIL: job %0d, output %0d, partial result %0d, token %0d: ",
               place[127:96], place[95:64], place[63:32], place[31:0]);
        $display("expected last %b, got %b", wanted[LAST_BIT], result[LAST_BIT]);
      end
      finish;
    end
  endtask
endmodule
"""
