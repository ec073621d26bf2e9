"""The memory port: requests, words, and the channels that share it."""

from amaranth.lib import data

from .config import TokenConfig

__all__ = ["read_request"]


def read_request(config: TokenConfig) -> data.StructLayout:
    """Layout of a request to read.

    Fields
    ------
    address : byte address, a multiple of the bytes of a word
    words : words to read, 1 or more
    """
    return data.StructLayout({"address": config.address_bits, "words": config.address_bits})
