"""Matrix products on a board."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ...golden.checks import check_integer
from ...golden.matmul import check_activations, check_trits
from ...hw.beats import activation_beats, result_values, weight_beats
from ...hw.engine.results import results_shape
from ...hw.jobs import JobShape
from ..frames import Kind, job_payload
from ..identity import Identity
from .link import AnswerLostError, BoardError, Link, split_payload

__all__ = ["Board", "Resident"]

#: Most result bytes of a job, unless a group of rows has more: a job is what noise makes the host
#: repeat.
_RESULT_BYTES = 8192


@dataclass(frozen=True, kw_only=True)
class Resident:
    """A matrix in the board's weight memory.

    Parameters
    ----------
    address : its first beat in the memory
    n : outputs, N
    k : inputs, K

    Raises
    ------
    TypeError, ValueError
        If a number is not an integer, or not legal.
    """

    address: int
    n: int
    k: int

    def __post_init__(self) -> None:
        for name, low in (("address", 0), ("n", 1), ("k", 1)):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), low, 2**24))


class Board:
    """An engine on a board, which multiplies matrices over a link. It is a context manager.

    Parameters
    ----------
    link : the link to the board; the context closes it

    Raises
    ------
    BoardError
        If the board has a token core, which multiplies no single matrices. All methods that talk to
        the board raise it too, if the board stops answering.
    """

    def __init__(self, link: Link) -> None:
        if not isinstance(link.identity, Identity):
            link.close()
            raise BoardError(
                "the board must be one that multiplies matrices, and has a token core, which runs "
                "whole models: give 'trilith fpga generate' or 'trilith fpga selftest'"
            )
        self.link = link
        self.identity: Identity = link.identity
        self.config = self.identity.config
        self._result_bytes = -(-results_shape(self.config).size // 8)
        #: The first beat of the weight memory that holds no resident matrix.
        self.used = 0
        #: Cycles of all jobs so far, and those of them in which the engine waited for the link.
        self.cycles = self.waits = 0
        # The activations that the engine holds.
        self._loaded: NDArray[np.int8] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.link.close()

    def beats(self, n: int, k: int) -> int:
        """Count the weight beats of a matrix of N outputs and K inputs."""
        return -(-n // self.config.rows) * -(-k // self.config.lanes)

    def check(self, name: str, n: int, k: int) -> None:
        """Check that the engine can multiply by a matrix.

        Parameters
        ----------
        name : name of the matrix in the message
        n, k : its outputs and inputs

        Raises
        ------
        BoardError
            If it has more outputs or inputs than the engine's maximum.
        """
        config = self.config
        if n > config.n_max or k > config.k_max:
            raise BoardError(
                f"{name} must have at most {config.n_max} outputs and {config.k_max} inputs, the "
                f"engine's maximum, not {n} and {k}"
            )

    def place(self, trits: NDArray[np.int8]) -> Resident:
        """Write a matrix into the weight memory, behind those that are resident.

        Parameters
        ----------
        trits : int8[N, K], −1, 0 or +1

        Returns
        -------
        The resident matrix, for ``multiply``.

        Raises
        ------
        BoardError
            If the matrix does not fit the memory or the engine.
        """
        resident = self.write(self.used, trits)
        self.used += self.beats(resident.n, resident.k)
        return resident

    def write(self, address: int, trits: NDArray[np.int8]) -> Resident:
        """Write a matrix anywhere into the weight memory.

        Parameters
        ----------
        address : its first beat
        trits : int8[N, K], −1, 0 or +1

        Returns
        -------
        The resident matrix, for ``multiply``.

        Raises
        ------
        BoardError
            If the matrix does not fit the memory or the engine.
        """
        check_trits(trits)
        n, k = trits.shape
        self.check("the matrix", n, k)
        beats = weight_beats(self.config, trits)
        if address + len(beats) > self.identity.beats:
            raise BoardError(
                f"the matrix must fit the {self.identity.beats - address} beats of the weight "
                f"memory from {address} on, not take {len(beats)}"
            )
        frames = self._write_frames(address, beats)
        self.link.repeat(lambda: self.link.deliver(frames), self._forget)
        return Resident(address=address, n=n, k=k)

    def multiply(
        self, weights: Resident | NDArray[np.int8], q: NDArray[np.int8]
    ) -> NDArray[np.int32]:
        """``weights (N, K) @ q (T, K) -> int32[T, N]``, exactly.

        Parameters
        ----------
        weights : a resident matrix, or trits int8[N, K]. Trits are sent piece by piece through the
            part of the weight memory that holds no resident matrix.
        q : int8[T, K], in the engine's range of activations

        Returns
        -------
        int32[T, N]

        Raises
        ------
        TypeError, ValueError
            If ``q`` is not legal for the engine, or its K is not that of the matrix.
        BoardError
            If the matrix does not fit, or the engine reports an error.
        """
        config = self.config
        check_activations(q, config.act_bits)
        if isinstance(weights, Resident):
            trits, n, k, address = None, weights.n, weights.k, weights.address
            groups = -(-n // config.rows)
        else:
            check_trits(weights)
            trits, (n, k), address = weights, weights.shape, self.used
            groups = self._free_groups(k)
        self.check("the matrix", n, k)
        if q.shape[1] != k:
            raise ValueError(
                f"weights and activations must have the same K, not {k} and {q.shape[1]}"
            )
        most = _RESULT_BYTES // (self._result_bytes * min(len(q), config.tokens))
        rows = config.rows * min(groups, max(1, most))
        results = np.empty((len(q), n), np.int32)
        for start in range(0, n, rows):
            size = min(rows, n - start)
            frames: list[tuple[Kind, bytes]] = []
            place = address
            if trits is None:
                place += self.beats(start, k)
            else:
                frames = self._write_frames(
                    address, weight_beats(config, trits[start : start + size])
                )
            for token in range(0, len(q), config.tokens):
                part = q[token : token + config.tokens]
                results[token : token + len(part), start : start + size] = self.link.repeat(
                    lambda frames=frames, part=part, size=size, place=place: self._job(
                        frames, part, size, place
                    ),
                    self._forget,
                )
                frames = []
        return results

    def _free_groups(self, k: int) -> int:
        """Groups of rows of K inputs for which the weight memory has room."""
        free, beats = self.identity.beats - self.used, self.beats(1, k)
        if free < beats:
            raise BoardError(
                f"the weight memory must have {beats} free beats for a group of rows of {k} "
                f"inputs, not {free}; place fewer matrices"
            )
        return free // beats

    def _write_frames(self, address: int, beats: NDArray[np.uint8]) -> list[tuple[Kind, bytes]]:
        """Make the frames that write weight beats from an address on."""
        frames = [(Kind.ADDRESS, address.to_bytes(3, "little"))]
        return [*frames, *split_payload(Kind.WRITE, beats.tobytes())]

    def _job(
        self,
        frames: Sequence[tuple[Kind, bytes]],
        q: NDArray[np.int8],
        n: int,
        address: int,
    ) -> NDArray[np.int32]:
        """Send frames, run a job on the N outputs from an address on, and return int32[T, N]."""
        config = self.config
        reuse = self._loaded is not None and np.array_equal(self._loaded, q)
        shape = JobShape(n=n, k=q.shape[1], tokens=len(q), reuse=reuse)
        payload = job_payload(shape, address=address, count=self.beats(n, shape.k))
        beats = b"" if reuse else activation_beats(config, q).tobytes()
        self._loaded = None
        answer = self.link.ask(
            [*frames, (Kind.JOB, payload), *split_payload(Kind.ACTIVATIONS, beats)]
        )
        groups = -(-n // config.rows)
        if len(answer.results) != groups * len(q) * self._result_bytes:
            raise AnswerLostError
        values, last = result_values(
            config, np.frombuffer(answer.results, np.uint8).reshape(-1, self._result_bytes)
        )
        if not last[-1] or last[:-1].any():
            raise AnswerLostError
        self._loaded = q.copy()
        self.cycles += answer.cycles
        self.waits += answer.waits
        return values.reshape(groups, len(q), -1).swapaxes(0, 1).reshape(len(q), -1)[:, :n]

    def _forget(self) -> None:
        """Forget what a new session clears."""
        self._loaded = None
