from dataclasses import replace

import pytest


@pytest.fixture
def changed():
    """Give a copy of a checkpoint with other fields of one matrix."""

    def change(checkpoint, name, **fields):
        tensor = replace(checkpoint.ternary[name], **fields)
        return replace(checkpoint, ternary=dict(checkpoint.ternary) | {name: tensor})

    return change
