import numpy as np
import pytest

from trilith.fpga.frames import (
    JOB,
    MAX_PAYLOAD,
    Frame,
    FrameReader,
    Kind,
    address_payload,
    check_payload,
    job_payload,
    model_payload,
    token_answers,
    token_payload,
)
from trilith.hw import PRESETS
from trilith.hw.jobs import JobShape, job_fields


def test_frames_come_back(frames):
    rng = np.random.default_rng(0)
    sent = [Frame(kind=1, sequence=0), Frame(kind=0, sequence=0, payload=bytes(MAX_PAYLOAD))]
    sent += frames(rng, 500)
    line = b"".join(frame.encode() for frame in sent)
    reader = FrameReader()
    # In pieces of any size.
    cuts = np.sort(rng.integers(0, len(line), 400))
    pieces = (line[start:end] for start, end in zip([0, *cuts], [*cuts, len(line)], strict=True))
    assert [frame for piece in pieces for frame in reader.feed(piece)] == sent
    assert reader.rejected == 0


def test_a_frame_is_what_the_protocol_says():
    # PROTOCOL.md has these bytes as its example.
    frame = Frame(kind=Kind.ADDRESS, sequence=7, payload=bytes([0, 1, 0]))
    assert frame.encode().hex(" ") == "00 04 02 07 03 02 01 01 a1 f8 9b cf 8e 00"
    assert len(Frame(kind=3, sequence=0, payload=bytes(MAX_PAYLOAD)).encode()) == 251


def test_a_frame_that_is_too_long_is_none():
    # The hardware has no room for it.
    reader = FrameReader()
    assert (
        list(reader.feed(Frame(kind=3, sequence=0, payload=bytes(MAX_PAYLOAD + 1)).encode())) == []
    )
    assert reader.rejected == 1


def accepted_but_corrupt(frames, corrupt, count, seed):
    """Count accepted frames that were never sent, and good frames lost behind damaged ones."""
    rng = np.random.default_rng(seed)
    sent = list(frames(rng, 200))
    lines = [frame.encode() for frame in sent]
    known = {(frame.kind, frame.sequence, frame.payload) for frame in sent}
    wrong = damaged = lost = 0
    while damaged < count:
        index = int(rng.integers(len(sent) - 1))
        bad = corrupt(rng, lines[index])
        if bad == lines[index]:
            continue
        damaged += 1
        found = list(FrameReader().feed(bad + lines[index + 1]))
        wrong += sum((frame.kind, frame.sequence, frame.payload) not in known for frame in found)
        # Resynchronization: the frame behind the damaged one arrives.
        lost += sent[index + 1] not in found
    return wrong, lost


def test_no_damaged_frame_is_accepted(frames, corrupt):
    assert accepted_but_corrupt(frames, corrupt, 20_000, 1) == (0, 0)


@pytest.mark.long
def test_no_damaged_frame_is_accepted_in_a_million(frames, corrupt):
    assert accepted_but_corrupt(frames, corrupt, 1_000_000, 2) == (0, 0)


def test_one_or_two_wrong_bits_are_never_accepted():
    # All single bits and all pairs of a short frame, exhaustively.
    line = Frame(kind=3, sequence=9, payload=bytes([0, 255, 128])).encode()
    bits = 8 * len(line)
    for first in range(bits):
        for second in range(first, bits):
            data = bytearray(line)
            data[first // 8] ^= 1 << first % 8
            if second != first:
                data[second // 8] ^= 1 << second % 8
            for frame in FrameReader().feed(bytes(data) + b"\0"):
                assert frame.encode() == line  # Only a delimiter was hit.


def test_noise_does_not_grow():
    reader = FrameReader()
    assert list(reader.feed(b"\x01" * 100_000)) == []
    frame = Frame(kind=2, sequence=1)
    assert list(reader.feed(frame.encode())) == [frame]
    assert reader.rejected == 1


def test_a_job_has_the_fields_of_the_engine_and_more():
    assert list(JOB)[:5] == list(job_fields(PRESETS["micro"]))
    shape = JobShape(n=0x010203, k=4, tokens=5, group_chunks=0x0607, reuse=True)
    payload = job_payload(shape, address=0x08090A, count=11)
    assert payload.hex(" ") == "03 02 01 04 00 00 05 07 06 01 0a 09 08 0b 00 00"


def test_payloads_of_protocol_2():
    # PROTOCOL.md has these fields in this order.
    assert address_payload(0x01020304).hex(" ") == "04 03 02 01"
    assert check_payload(0x10, 0x10000).hex(" ") == "10 00 00 00 00 00 01 00"
    model = model_payload(program_words=0x0102, base=0x1000, beats=0x030405, resident=6)
    assert model.hex(" ") == "02 01 00 00 00 10 00 00 05 04 03 00 06 00 00"
    assert token_payload(0x010203, 4, 5).hex(" ") == "03 02 01 04 00 00 05"


@pytest.mark.parametrize(
    "encode",
    [
        lambda: address_payload(2**32),
        lambda: check_payload(0, -16),
        lambda: model_payload(program_words=1, base=0, beats=0, resident=2**24),
        lambda: token_payload(2**24, 0, 1),
        lambda: token_payload(0, 0, 256),
    ],
)
def test_a_value_that_does_not_fit_its_field_is_not_cut(encode):
    with pytest.raises(OverflowError):
        encode()


def test_answers_of_a_token():
    # 1.0 and -2.5 as elements of 24 bits.
    data = bytes.fromhex("05 00 00 00 80 3f 00 01 00 00 20 c0")
    assert token_answers(data) == ([5, 256], [1.0, -2.5])
    assert token_answers(b"") == ([], [])
    with pytest.raises(ValueError, match=r"^the bytes of answers must be a multiple of 6, not 11$"):
        token_answers(data[1:])
