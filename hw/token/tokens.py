"""Tokens of a pass: their numbers in commands, and their places in memories.

A pass runs up to T = ``TokenConfig.tokens`` tokens of consecutive positions. Token t is number t of
its pass. With T = 1 a number has no bits, and none of these functions makes logic.
"""

from collections.abc import Sequence

from amaranth.hdl import Array, Cat, Value, ValueLike

from .config import TokenConfig

__all__ = ["is_token", "of_token", "token_number", "token_place"]


def token_number(config: TokenConfig) -> range:
    """Shape of the number of a token in its pass, 0 to T − 1; it has ``log2(T)`` bits."""
    return range(config.tokens)


def token_place(address: Value, token: ValueLike) -> Value:
    """Place of a word of a token in a memory that keeps words of all T tokens.

    The number of the token is the lowest bits. Example: with T = 4, word 5 of token 2 is at place
    22.

    Parameters
    ----------
    address : number of the word among those of one token
    token : number of the token
    """
    return Cat(token, address)


def of_token(values: Sequence[ValueLike], token: Value) -> Value:
    """The value of a token, out of one for each of the T tokens.

    Parameters
    ----------
    values : T values
    token : number of the token
    """
    return Value.cast(values[0]) if len(values) == 1 else Value.cast(Array(values)[token])


def is_token(step: Value, token: Value, final: Value) -> Value:
    """Whether a step belongs to the final token of a command.

    Parameters
    ----------
    step : whether there is a step
    token : number of its token
    final : number of the final token
    """
    return step & (token == final) if len(token) else step
