from fractions import Fraction

import numpy as np
import pytest

from trilith.golden.elements import (
    LARGEST,
    TABLES,
    OverflowFlag,
    element_bits,
    exp2,
    from_element_bits,
    quantize_elements,
    reciprocal,
    reciprocal_root,
    round_element,
    saturate_element,
    scaled_integers,
)


def naive_round(value: Fraction) -> float:
    """The element nearest to an exact value: the definition, one number at a time."""
    if not value:
        return 0.0
    exponent = 0
    magnitude = abs(value)
    while magnitude >= 2 ** (exponent + 1):
        exponent += 1
    while magnitude < Fraction(2) ** exponent:
        exponent -= 1
    # round() of a Fraction is half to even.
    result = round(magnitude / Fraction(2) ** (exponent - 15)) * Fraction(2) ** (exponent - 15)
    if result < Fraction(2) ** -126:
        return 0.0
    return float(min(result, Fraction(LARGEST))) * (1 if value > 0 else -1)


def random_elements(rng: np.random.Generator, count: int, spread: int = 12) -> np.ndarray:
    significands = rng.integers(2**15, 2**16, count)
    # Few bits are set in some, so that sums and products meet ties.
    significands[::3] = significands[::3] & 0xFE00
    signs = rng.choice([-1.0, 1.0], count)
    return signs * np.ldexp(significands, rng.integers(-15 - spread, spread - 15, count))


@pytest.mark.parametrize("spread", [2, 18, 60, 120])
def test_products_and_sums_round_once(spread: int) -> None:
    rng = np.random.default_rng(spread)
    a, b = random_elements(rng, 3000, spread), random_elements(rng, 3000, spread)
    exact = [(Fraction(x), Fraction(y)) for x, y in zip(a, b, strict=True)]
    assert round_element(a * b).tolist() == [naive_round(x * y) for x, y in exact]
    assert round_element(a + b).tolist() == [naive_round(x + y) for x, y in exact]


def test_corner_values() -> None:
    values = [0.0, -0.0, 2.0**-127, 2.0**-126 * (1 - 2.0**-17), 2.0**-126, 2.0**200, -(2.0**128)]
    assert round_element(np.array(values)).tolist() == [
        0.0, 0.0, 0.0, 2.0**-126, 2.0**-126, LARGEST, -LARGEST,
    ]  # fmt: skip


def test_words() -> None:
    x = random_elements(np.random.default_rng(1), 1000, 100)
    words = element_bits(x)
    assert words.max() < 2**24
    assert from_element_bits(words).tolist() == x.tolist()
    assert element_bits(np.array([1.0, -2.0, -0.0])).tolist() == [0x3F8000, 0xC00000, 0]


def test_every_reciprocal_root_and_power_is_within_its_error() -> None:
    x = np.ldexp(np.arange(2**15, 2**16, dtype=np.float64), -15)
    for exponent in (-3, 0, 1, 10):
        scaled = np.ldexp(x, exponent)
        assert np.abs(reciprocal(scaled) * scaled - 1).max() <= 2.0**-15
        assert np.abs(reciprocal_root(scaled) * np.sqrt(scaled) - 1).max() <= 2.0**-15
    powers = round_element(np.linspace(-20, 20, 100_001))
    assert np.abs(exp2(powers) / 2.0**powers - 1).max() <= 2.0**-14
    assert reciprocal(np.zeros(1)) == reciprocal_root(np.zeros(1)) == 0
    assert exp2(np.array([0.0, -1.0, 5.0, -300.0])).tolist() == [1.0, 0.5, 32.0, 0.0]


def test_tables_fit_their_words() -> None:
    for table in TABLES.values():
        assert table.bases.min() >= 2**17 - 1
        assert table.bases.max() <= 2**18
        assert np.abs(table.slopes).max() < 2**10


def test_quantizer_reaches_127_and_never_more() -> None:
    rng = np.random.default_rng(2)
    x = random_elements(rng, 64 * 500).reshape(500, 64)
    largest = np.abs(x).max(axis=1, keepdims=True)
    q, scale = quantize_elements(x, largest)
    assert (np.abs(q).max(axis=1) == 127).all()
    assert np.abs(q * scale - x).max(axis=1) == pytest.approx(0, abs=0.51 * scale.max())
    q, scale = quantize_elements(np.zeros((1, 8)), np.zeros((1, 1)))
    assert not q.any()
    assert not scale.any()


def test_integers_of_a_vector_share_the_exponent_of_the_largest() -> None:
    x = np.array([[1.5, -0.75, 2.0**-16, 3 * 2.0**-17]])
    integers, exponent = scaled_integers(x, np.array([[1.5]]))
    assert integers.tolist() == [[49152, -24576, 0, 1]]  # Half to even: 0.5 gives 0, 0.75 gives 1.
    assert exponent.tolist() == [[-15]]


#: Half-way from the largest element to 2¹²⁸; the tie rounds up.
TOO_LARGE = (2 - 2.0**-16) * 2.0**127


@pytest.mark.parametrize(
    ("compute", "raised"),
    [
        (lambda: round_element(TOO_LARGE), True),
        (lambda: round_element(np.array([1.0, -TOO_LARGE])), True),
        (lambda: round_element(np.nextafter(TOO_LARGE, 0)), False),
        (lambda: round_element(np.zeros(0)), False),
        (lambda: saturate_element(TOO_LARGE), False),
        (lambda: exp2(np.array([500.0, -500.0])), False),
        (lambda: reciprocal(np.array([0.0, 2.0**-126, LARGEST])), False),
        # r = 127 / largest is too large below 2⁻¹²¹, and 0 above 2¹²⁶.
        (lambda: quantize_elements(np.zeros((1, 2)), np.zeros((1, 1))), False),
        (lambda: quantize_elements(np.full((1, 2), 2.0**-121), np.full((1, 1), 2.0**-121)), False),
        (lambda: quantize_elements(np.full((1, 2), 2.0**-122), np.full((1, 1), 2.0**-122)), True),
        (lambda: quantize_elements(np.full((1, 2), 2.0**126), np.full((1, 1), 2.0**126)), False),
        (lambda: quantize_elements(np.full((1, 2), 2.0**127), np.full((1, 1), 2.0**127)), True),
    ],
)
def test_the_overflow_flag(compute, raised):
    with OverflowFlag() as flag:
        compute()
    assert flag.raised == raised


def test_the_innermost_flag_is_raised():
    with OverflowFlag() as outer:
        with OverflowFlag() as inner:
            round_element(TOO_LARGE)
        assert (outer.raised, inner.raised) == (False, True)
        round_element(TOO_LARGE)
        assert outer.raised
    assert round_element(TOO_LARGE) == LARGEST
