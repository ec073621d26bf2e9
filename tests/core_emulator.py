"""A board with a token core behind a pseudo-terminal, by frames: the golden model is its core."""

import os
import random
import sys
from contextlib import contextmanager
from dataclasses import replace
from threading import Thread
from zlib import crc32

import numpy as np

from trilith.fpga.frames import (
    CHECK,
    DONE,
    MAX_PAYLOAD,
    MODEL,
    TOKEN,
    DoneFlag,
    Frame,
    FrameReader,
    Kind,
    unpack_fields,
)
from trilith.fpga.host.core_image import Placement
from trilith.fpga.host.core_selftest import made_model
from trilith.fpga.identity import CoreIdentity
from trilith.golden.elements import OverflowFlag, element_bits
from trilith.golden.network.token_core import CoreCache
from trilith.hw.token.config import CORE_PRESETS
from trilith.hw.token.image import compile_image

__all__ = ["IDENTITY", "CoreEmulator", "made"]

IDENTITY = CoreIdentity(
    config=CORE_PRESETS["small"],
    memory_bytes=2**20,
    resident_beats=8,
    clock_hz=50_000_000,
    tested_bytes=2**20,
)


def made(config=IDENTITY.config):
    """The made model of a configuration, and its image."""
    model = made_model(config)
    return model, compile_image(model, config, name="made")


class CoreEmulator:
    """Answers frames as PROTOCOL.md says; ``port`` opens like a serial port, in a context.

    Parameters
    ----------
    model, image : the model that its core runs if the memory has its image
    identity : its identity; ``raw`` are other bytes to answer a HELLO with
    lose, damage : probability that a frame in either direction is lost, or has a wrong bit
    broken : function of address and data that changes what is written
    wrong : added to each token of an answer
    stops : closes the terminal before this frame, counted from 0
    """

    def __init__(self, model, image, identity=IDENTITY, **faults):
        self.model, self.image, self.identity = model, image, identity
        self.faults = {"lose": 0.0, "damage": 0.0, "broken": None, "wrong": 0, "stops": None}
        self.faults |= {"raw": None, "flags": 0, "seed": 0} | faults
        self.memory = bytearray(identity.memory_bytes)
        self.random = random.Random(self.faults["seed"])
        self.received = self.frames = self.written = 0
        self.cache = CoreCache(model.config)
        self.models, self.begun = [], False
        self._hello()

    def _hello(self):
        self.expected = self.answer = self.address = 0
        self.begun = False

    @contextmanager
    def running(self):
        """Serve until the context ends; yield the path of the terminal."""
        host, device = os.openpty()
        thread = Thread(target=self._serve, args=(host, device), daemon=True)
        thread.start()
        try:
            yield os.ttyname(device)
        finally:
            if self.faults["stops"] is None or self.frames <= self.faults["stops"]:
                os.close(device)
            thread.join(timeout=10)
            assert not thread.is_alive()

    def _serve(self, host, device):
        reader = FrameReader()
        with os.fdopen(host, "wb", buffering=0) as line:
            while True:
                try:
                    data = os.read(host, 4096)
                except OSError:
                    return
                self.received += len(data)
                for frame in reader.feed(self._noise(data)):
                    if self.frames == self.faults["stops"]:
                        os.close(device)
                        self.frames += 1
                        return
                    self.frames += 1
                    for answer in self.take(frame):
                        line.write(self._noise(answer.encode()))

    def _noise(self, data):
        """Break bytes, so often that so many frames of the largest size are broken."""
        out = bytearray()
        share = 1 / (MAX_PAYLOAD + 11)
        for byte in data:
            if self.random.random() < self.faults["damage"] * share:
                byte ^= 1 << self.random.randrange(8)
            if self.random.random() >= self.faults["lose"] * share:
                out.append(byte)
        return bytes(out)

    def take(self, frame):
        """Yield the answers to a frame."""
        if frame.kind == Kind.HELLO:
            self._hello()
            payload = self.faults["raw"] or self.identity.encode()
            yield Frame(kind=Kind.IDENTITY, sequence=0, payload=frame.payload + payload)
            return
        ahead = (frame.sequence - self.expected) % 256
        if ahead:
            kind = Kind.REFUSAL if ahead < 128 else Kind.ACK
            yield Frame(kind=kind, sequence=self.expected)
            return
        self.expected = (self.expected + 1) % 256
        yield Frame(kind=Kind.ACK, sequence=self.expected)
        yield from self._execute(frame)

    def _execute(self, frame):
        if frame.kind == Kind.ADDRESS:
            self.address = int.from_bytes(frame.payload, "little")
        elif frame.kind == Kind.WRITE:
            data = frame.payload
            if self.faults["broken"]:
                data = self.faults["broken"](self.address, data)
            self.memory[self.address : self.address + len(data)] = data
            self.address += len(data)
            self.written += len(data)
        elif frame.kind == Kind.CHECK:
            fields = unpack_fields(CHECK, frame.payload)
            start, size = fields["address"], fields["bytes"]
            crc = crc32(self.memory[start : start + size])
            yield from self._job(crc.to_bytes(4, "little"), cycles=size)
        elif frame.kind == Kind.MODEL:
            self.models.append(unpack_fields(MODEL, frame.payload))
            self.begun = all(
                self.memory[at : at + len(block)] == block.tobytes()
                for at, block in Placement(image=self.image).blocks()
            )
            yield from self._job(b"", cycles=10)
        elif frame.kind == Kind.TOKEN:
            yield from self._token(**unpack_fields(TOKEN, frame.payload))

    def _token(self, token, position, k):
        if not self.begun:
            yield from self._job(b"", cycles=1, flags=DoneFlag.ERROR | DoneFlag.STOPPED)
            return
        self.cache.length = position
        with OverflowFlag():
            logits = self.model.forward([token], self.cache, last=True)[0]
        best = np.argsort(-logits, kind="stable")[:k]
        bits = element_bits(logits[best])
        entries = (
            int((one + self.faults["wrong"]) % len(logits)).to_bytes(3, "little")
            + int(value).to_bytes(3, "little")
            for one, value in zip(best, bits, strict=True)
        )
        yield from self._job(
            b"".join(entries), cycles=1000 + position, waits=100, flags=self.faults["flags"]
        )

    def _job(self, results, *, cycles, waits=0, flags=0):
        frames = [(Kind.RESULTS, results)] if results else []
        for kind, payload in [*frames, (Kind.DONE, DONE.pack(cycles, waits, flags))]:
            yield Frame(kind=kind, sequence=self.answer, payload=payload)
            self.answer = (self.answer + 1) % 256


def serve():
    """Serve the made model until the standard input ends, in a process of its own."""
    config = replace(IDENTITY, config=CORE_PRESETS[sys.argv[1]]) if sys.argv[1:] else IDENTITY
    with CoreEmulator(*made(config.config), config).running() as port:
        print(port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    serve()
