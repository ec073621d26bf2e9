"""The largest models that boards hold, and the made model of the token core's board."""

from dataclasses import replace

import pytest

from trilith.fpga.boards import BOARDS, image_bytes, memory_bytes
from trilith.hw.token.plan import plan_image
from trilith.reports.largest import MADE, largest_image, largest_weights

ULX3S = BOARDS["ulx3s"].top.core


def weights(sizes):
    return sizes.layers * sum(n * k for n, k in sizes.linear_shapes.values())


def test_the_made_model_has_19_million_weights_and_fits_the_board():
    assert weights(MADE) == 18_874_368
    assert image_bytes(plan_image(ULX3S, MADE)) < BOARDS["ulx3s"].top.memory.bytes


@pytest.mark.parametrize("size", [2**18, 2**22])
def test_one_more_layer_than_the_largest_does_not_fit(size):
    largest = largest_image(ULX3S, size)
    assert image_bytes(plan_image(ULX3S, largest)) <= size
    more = replace(largest, layers=largest.layers + 1)
    assert image_bytes(plan_image(ULX3S, more)) > size


def test_no_model_fits_a_small_memory():
    assert largest_image(ULX3S, 4096) is None
    assert largest_weights(6912, lambda shapes: False) is None


def test_the_largest_weights_fill_the_weight_memory():
    config = BOARDS["icebreaker"].engine
    largest = largest_weights(config.k_max, lambda shapes: memory_bytes(config, shapes) <= 131_072)
    shapes = list(largest.linear_shapes.values())
    assert memory_bytes(config, shapes * largest.layers) <= 131_072
    assert memory_bytes(config, shapes * (largest.layers + 1)) > 131_072
