"""Message about a program that failed."""

import signal

import pytest

from trilith.golden.failures import ending, error_line


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([], "it printed nothing"),
        (["", "  ", "-----", "  ^~~~"], "it printed nothing"),
        (["a", "error: b", "error: c"], "error: b"),
        (["a", "b", "c", "d"], "b; c; d"),
        # What follows from a cause is none.
        (["make: *** [a.mk:5: a] Error 1"], "make: *** [a.mk:5: a] Error 1"),
        (["g++ a.cpp", "make: *** [a.mk:5: a] Error 1"], "g++ a.cpp"),
        (
            ["/usr/bin/ld: cannot find -la", "collect2: error: ld returned 1 exit status"],
            "/usr/bin/ld: cannot find -la",
        ),
        (
            ["a.o: undefined reference to `b'", "collect2: error: ld returned 1 exit status"],
            "a.o: undefined reference to `b'",
        ),
        (["%Error: Exiting due to 1 error(s)", "%Error: a.v:1: x"], "%Error: a.v:1: x"),
        (
            ["terminate called after throwing 'std::bad_alloc'", "  what():  std::bad_alloc"],
            "terminate called after throwing 'std::bad_alloc'; what():  std::bad_alloc",
        ),
        (["\x1b[31mfatal \x1b[1merror:\x1b[0m x"], "fatal error: x"),
        (["x" * 400], f"{'x' * 150}...{'x' * 150}"),
        (["x" * 200, "y" * 200], f"{'x' * 150}...{'y' * 150}"),
    ],
)
def test_error_line(lines, found):
    assert error_line("\n".join(lines)) == found


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (1, "ended with status 1"),
        (128, "ended with status 128"),
        (255, "ended with status 255"),
        (-signal.SIGSEGV, "was ended by SIGSEGV"),
        (-signal.SIGKILL, "was ended by SIGKILL, as where the memory is full"),
        (-40, "was ended by signal 40"),
        (139, "ended with status 139, of a program that was ended by SIGSEGV"),
    ],
)
def test_ending(status, phrase):
    assert ending(status) == phrase
