"""Matrix products of a golden model on a board."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ...golden.checkpoint.tensors import TernaryTensor
from ...golden.matmul import ternary_matmul
from .board import Board, Resident

__all__ = ["BoardMatmul"]


class BoardMatmul:
    """A matrix product for golden models that runs on a board, a ``golden.network.layers.Matmul``.

    Every result is compared with that of the golden model. A matrix is placed when it is first used
    and stays on the board as long as there is room. The others are sent with each product.

    Parameters
    ----------
    board : the board
    shapes : (N, K) of all matrices, to know whether they fit

    Raises
    ------
    BoardError
        If a matrix has more outputs or inputs than the engine's maximum.
    """

    def __init__(self, board: Board, shapes: Iterable[tuple[int, int]]) -> None:
        self._board = board
        shapes = list(shapes)
        for n, k in shapes:
            board.check("a matrix of the checkpoint", n, k)
        self._limit = board.identity.beats
        if sum(board.beats(n, k) for n, k in shapes) > self._limit:
            # Matrices that are not resident go through the rest of the memory, which must hold a
            # group of rows.
            chunks = max(-(-k // board.config.lanes) for _, k in shapes)
            self._limit -= min(max(self._limit // 8, chunks), self._limit)
        # The key is the tensor's identity, because the groups of one matrix share a name. The
        # tensor is kept too, so that no other takes its identity.
        self._residents: dict[int, tuple[TernaryTensor, Resident]] = {}
        #: Results so far that differ from the golden model's, and multiply-accumulates.
        self.wrong = self.macs = 0

    def __call__(self, weight: TernaryTensor, q: NDArray[np.int8]) -> NDArray[np.int32]:
        """Multiply ``weight (N, K) @ q (T, K) -> int32[T, N]``.

        Parameters
        ----------
        weight : the matrix
        q : int8[T, K], in the engine's range of activations

        Returns
        -------
        int32[T, N], as the board computed it; ``wrong`` counts differences.
        """
        board = self._board
        trits = weight.trits
        if id(weight) not in self._residents and (
            board.used + board.beats(*weight.shape) <= self._limit
        ):
            self._residents[id(weight)] = weight, board.place(trits)
        _, resident = self._residents.get(id(weight), (weight, trits))
        results = board.multiply(resident, q)
        self.macs += trits.size * len(q)
        self.wrong += int((results != ternary_matmul(trits, q)).sum())
        return results
