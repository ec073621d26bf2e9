import pytest

from trilith.golden.errors import CheckpointError, OutputError, TrilithError, within


@pytest.mark.parametrize("kind", [TrilithError, CheckpointError, OutputError])
def test_a_message_is_one_line_that_can_be_printed(kind):
    """Names in files and messages of libraries have any characters."""
    assert str(kind("a\nb\x1b[31m \ud800\u2028 é")) == "a\\nb\\x1b[31m \\ud800\\u2028 é"


def test_a_place_does_not_change_what_is_escaped():
    with pytest.raises(CheckpointError, match=r"^file: a\\nb$"), within("file"):
        raise CheckpointError("a\nb")
