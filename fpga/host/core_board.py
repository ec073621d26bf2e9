"""Token cores on boards."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from zlib import crc32

from ...golden.checks import check_kind
from ...hw.token.image_file import Image, config_differences
from ..frames import (
    DoneFlag,
    Kind,
    address_payload,
    check_payload,
    model_payload,
    token_answers,
    token_payload,
)
from ..identity import CoreIdentity
from .core_image import Placement, check_memory
from .link import AnswerLostError, BoardError, JobAnswer, Link, split_payload

__all__ = ["CoreBoard", "Loaded", "TokenAnswer"]

#: Times that a block is sent until its checksum is right.
_SENDINGS = 3

#: Seconds of silence before the answer to a job counts as lost, beyond the time of its cycles.
_SILENCE = 4.0

#: Bytes of the memory per cycle of a token at least, in the slowest design.
_BYTES_PER_CYCLE = 0.25

#: Cycles per second of a simulated board at least.
_SLOWEST = 50_000.0


def _ignore(done: int, total: int) -> None:
    """Show no progress."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Result of loading an image.

    Parameters
    ----------
    bytes : bytes of the image that do not change, all verified by their checksums
    sent : those of them that were sent; the others were in the memory already
    seconds : time that it took
    """

    bytes: int
    sent: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class TokenAnswer:
    """Answer of a token core to a token.

    Parameters
    ----------
    tokens : the tokens of the largest logits, the largest first
    logits : their values, elements
    cycles : cycles of the token, as the board counted them
    waits : those of them in which the core waited for a weight beat or a memory word
    large : a value was too large, since the model began
    """

    tokens: list[int]
    logits: list[float]
    cycles: int
    waits: int
    large: bool


class CoreBoard:
    """A token core on a board, which runs a model over a link. It is a context manager.

    A lost answer begins a new session, in which the model begins again and the token is repeated:
    the memory has kept the keys and values of the positions before.

    Parameters
    ----------
    link : the link to the board; the context closes it

    Raises
    ------
    BoardError
        If the board has no token core. All methods that talk to the board raise it too, if the
        board stops answering, or reports an error.
    """

    def __init__(self, link: Link) -> None:
        if not isinstance(link.identity, CoreIdentity):
            link.close()
            raise BoardError(
                "the board must have a token core, and its bitstream speaks protocol 1, that of "
                "boards that multiply matrices: build a bitstream with a token core, such as "
                "'trilith fpga build --board ulx3s'"
            )
        self.link = link
        self.identity: CoreIdentity = link.identity
        self.config = self.identity.config
        #: Cycles of all tokens so far, and those of them in which the core waited.
        self.cycles = self.waits = 0
        # The frame that begins the model, and whether it runs in this session.
        self._model: bytes | None = None
        self._running = False
        # Cycles per second that the board has shown, and cycles that a token may take.
        self._speed, self._longest = 0.0, 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.link.close()

    def check(self, image: Image, name: object = "the image") -> Placement:
        """Check that the board can run an image, and return its place.

        Parameters
        ----------
        image : the image
        name : its file or its model, for messages

        Raises
        ------
        BoardError
            If the image is for another core or too large, or the memory failed its test.
        """
        check_kind("image", image, Image)
        if differences := config_differences(image.config, self.config):
            raise BoardError(
                f"{name}: must be for the configuration of the board's core, and has "
                f"{differences}; give the model instead, which is then compiled for this board"
            )
        placement = Placement(image=image)
        check_memory(self.identity, placement, name)
        return placement

    def load(
        self,
        image: Image,
        *,
        name: object = "the image",
        show: Callable[[int, int], None] = _ignore,
    ) -> Loaded:
        """Load an image into the board's memory, and verify it by checksums of the board.

        Blocks that are in the memory already are not sent: after an interruption, loading goes on
        where it ended.

        Parameters
        ----------
        image : the image, for the board's core
        name : its file or its model, for messages
        show : called with the bytes that are verified, and with those of the image

        Returns
        -------
        Bytes and time of the loading.

        Raises
        ------
        BoardError
            See ``check``; and if a block stays wrong.
        """
        placement = self.check(image, name)
        begin, sent, done = time.monotonic(), 0, 0
        blocks = [*placement.blocks()]
        total = sum(len(block) for _, block in blocks)
        for address, block in blocks:
            show(done, total)
            sent += self._load_block(address, block.tobytes())
            done += len(block)
        show(done, total)
        return Loaded(bytes=total, sent=sent, seconds=time.monotonic() - begin)

    def begin_model(self, image: Image, *, stream: bool = False) -> None:
        """Begin the model of an image that was loaded.

        Parameters
        ----------
        image : the image
        stream : keep no weight in block RAM, so that all stream from the memory
        """
        placement = self.check(image)
        self._model = self.model_frame(image, stream=stream)
        self._longest = placement.bytes / _BYTES_PER_CYCLE
        self._running = False
        self.link.repeat(self._begin, self._forget)

    def model_frame(self, image: Image, *, stream: bool = False) -> bytes:
        """Make the payload of ``Kind.MODEL`` for an image; see ``begin_model``."""
        beats = len(image.weights)
        return model_payload(
            program_words=image.program_words,
            base=Placement(image=image).base,
            beats=beats,
            resident=0 if stream else min(beats, self.identity.resident_beats),
        )

    def token(self, token: int, position: int, k: int) -> TokenAnswer:
        """Run a token of the model that has begun.

        Parameters
        ----------
        token : its number
        position : its position; positions come in order, from 0 on, and any can come again
        k : largest logits to answer with, 0 for none

        Returns
        -------
        The answer of the core.
        """
        payload = token_payload(token, position, k)

        def run() -> TokenAnswer:
            self._begin()
            answer = self._ask(Kind.TOKEN, payload)
            try:
                tokens, logits = token_answers(answer.results)
            except ValueError:
                raise AnswerLostError from None
            if len(tokens) != k:
                raise AnswerLostError
            large = bool(answer.flags & DoneFlag.LARGE)
            return TokenAnswer(
                tokens=tokens,
                logits=logits,
                cycles=answer.cycles,
                waits=answer.waits,
                large=large,
            )

        found = self.link.repeat(run, self._forget)
        self.cycles += found.cycles
        self.waits += found.waits
        return found

    def _load_block(self, address: int, block: bytes) -> int:
        """Send a block unless the memory has it; return the bytes that were sent."""
        right = crc32(block)
        frames = [(Kind.ADDRESS, address_payload(address)), *split_payload(Kind.WRITE, block)]
        found = self._checksum(address, len(block))
        if found == right:
            return 0
        for _ in range(_SENDINGS):
            self.link.repeat(lambda: self.link.deliver(frames), self._forget)
            found = self._checksum(address, len(block))
            if found == right:
                return len(block)
        raise BoardError(
            f"the {len(block)} bytes of the memory from {address} on must have the checksum "
            f"{right:08x}, and have {found:08x} after {_SENDINGS} sendings; the memory does not "
            "keep them: test the board with trilith fpga selftest"
        )

    def _checksum(self, address: int, count: int) -> int:
        """Ask the board for the checksum of bytes of its memory."""

        def ask() -> int:
            answer = self._ask(Kind.CHECK, check_payload(address, count))
            if len(answer.results) != 4:
                raise AnswerLostError
            return int.from_bytes(answer.results, "little")

        return self.link.repeat(ask, self._forget)

    def _begin(self) -> None:
        """Begin the model, unless it runs in this session."""
        if self._model is None:
            raise BoardError("a model must have begun before a token; call begin_model")
        if not self._running:
            self._ask(Kind.MODEL, self._model)
            self._running = True

    def _ask(self, kind: Kind, payload: bytes) -> JobAnswer:
        """Ask for a job, with patience for a board that is simulated and slow."""
        # A machine may become busy after the board has shown its speed.
        seconds = self._longest / max(self._speed / 4, _SLOWEST)
        begin = time.monotonic()
        answer = self.link.ask([(kind, payload)], silence=_SILENCE + seconds)
        self._speed = max(self._speed, answer.cycles / (time.monotonic() - begin))
        return answer

    def _forget(self) -> None:
        """Forget what a new session clears."""
        self._running = False
