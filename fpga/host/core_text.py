"""Text from a token core on a board, every answer compared with the golden model."""

from collections.abc import Sequence

from ...golden.network.token_core import CoreCache, CoreModel
from ...sim.rtl.core_text import CoreText, answer_difference
from ...sim.rtl.token_core import GoldenTrace
from .core_board import CoreBoard, TokenAnswer
from .link import BoardError

__all__ = ["BoardText"]


class BoardText(CoreText):
    """A model on a board whose memory has it, with the interface of ``BitNetModel`` for texts.

    Parameters
    ----------
    model : the model in the arithmetic of the core
    board : the board; the model has begun

    Attributes
    ----------
    difference : the first difference from the golden model, or None
    answers : the board's answers so far
    """

    def __init__(self, model: CoreModel, board: CoreBoard) -> None:
        super().__init__(model, 1)
        self._board = board
        self.difference: str | None = None
        self.answers: list[TokenAnswer] = []
        self._large = self._overflow = False

    def run_pass(self, tokens: Sequence[int], cache: CoreCache, k: int) -> TokenAnswer:
        """Run a token on the board, and compare its answer.

        Parameters
        ----------
        tokens : the token alone
        cache : keys and values that the board has too; those of the token are added
        k : logits to answer with, 0 for none

        Raises
        ------
        BoardError
            If the board stops answering or reports an error, or a value was too large.
        """
        position, [token] = cache.length, tokens
        golden = GoldenTrace(self._model, token, cache)
        answer = self._board.token(token, position, k)
        self.answers.append(answer)
        difference = answer_difference(golden, answer, k)
        self._large |= answer.large
        self._overflow |= golden.overflow(head=k > 0)
        if difference is None and self._large != self._overflow:
            difference = f"the flag of large values is {self._large}, not {self._overflow}"
        if difference is not None and self.difference is None:
            self.difference = f"at position {position} {difference}"
        elif difference is None and self._large:
            raise BoardError(
                f"a value was too large at position {position}, on the board and in the golden "
                "model: the text means nothing from there on; give another prompt or model"
            )
        return answer
