"""Structured mutations: a file as a tree, small changes of the tree, and the tree as JSON again.

A tree is made of ``Object`` (pairs of key and value, so that a key can stand twice), lists,
strings, numbers, booleans, None and bytes. One mutator serves all formats. Each format has its own
writer, which takes any tree: what has the wrong type is written as something.
"""

import json
import struct
from collections.abc import Iterator
from random import Random
from typing import Any


class Object(list):
    """Pairs [key, value] in their order."""

    @classmethod
    def of(cls, value: Any) -> Any:
        """Make a tree of what ``json.loads`` returns."""
        if isinstance(value, dict):
            return cls([key, cls.of(one)] for key, one in value.items())
        return [cls.of(one) for one in value] if isinstance(value, list) else value

    def get(self, key: str, default: Any = None) -> Any:
        return next((pair[1] for pair in self if pair[0] == key), default)


class Raw(str):
    """Text that is written into JSON as it is."""

    __slots__ = ()


NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    32,
    255,
    256,
    2**31 - 1,
    2**31,
    2**32,
    2**53 + 1,
    2**62,
    2**63,
    2**64 - 1,
)
WORDS = ("", " ", "x", "\0", "\n", "\x1b[31m", "é", "\u2028", "\ud800", "nan", "1_0", "../x", "F32")
FLOATS = (0.0, -0.0, -1.0, 0.5, 1e-45, 1e-300, 1e39, 1e300, float("inf"), float("nan"))
ODD = (
    *NUMBERS,
    *WORDS,
    *FLOATS,
    *(None, True, False, [], [1], Object(), Object([["a", 1]])),
    *(Raw("[" * 3000 + "]" * 3000), Raw("1e400"), Raw("1" * 5000), Raw("-0"), Raw("{,}")),
    *("x" * 70_000, 10**40, b"\xff\xfe"),
)
#: Bytes of numbers that matter: NaN, infinity, zero, negative and denormal, as f16, bf16, f32, f64.
_HEX = "007e 007c c07f 807f 0000c07f 0000807f 0000803f 000080bf 01000000 00000000 ffffffff"
BITS = tuple(map(bytes.fromhex, (*_HEX.split(), "000000000000f07f", "000000000000f87f")))


Path = tuple[int, ...]


def paths(node: Any, before: Path = ()) -> Iterator[Path]:
    """Yield each place of a tree, as the indices that lead to it."""
    if isinstance(node, list):
        for index, one in enumerate(node):
            yield (*before, index)
            yield from paths(one[1] if isinstance(node, Object) else one, (*before, index))


def _value(container: list, index: int) -> Any:
    return container[index][1] if isinstance(container, Object) else container[index]


def _descend(tree: Any, path: Path) -> tuple[Any, list, str]:
    """Copy the containers on the way to a place; return the new tree, the last one, and names.

    All other containers are shared with the old tree, which stays as it is. An IndexError or
    TypeError means that the tree has no such place any more.
    """
    root = container = type(tree)(tree)
    words = ""
    for step, index in enumerate(path):
        named = isinstance(container, Object)
        words += f".{container[index][0]}" if named else f"[{index}]"
        if step == len(path) - 1:
            break
        child = _value(container, index)
        if not isinstance(child, list):
            raise TypeError
        child = type(child)(child)
        container[index] = [container[index][0], child] if named else child
        container = child
    return root, container, words


def mutate(tree: Any, places: list[Path], rng: Random) -> tuple[Any, str]:
    """Change one place of a tree.

    Returns
    -------
    The new tree, which shares what is unchanged, and what was done, for the message of a failure
    """
    path = rng.choice(places)
    try:
        root, container, words = _descend(tree, path)
        _value(container, path[-1])
        origin = _value(_descend(tree, other := rng.choice(places))[1], other[-1])
    except (IndexError, TypeError):
        return tree, "nothing"
    return root, _change(container, path[-1], words, origin, rng)


def _change(container: list, index: int, path: str, origin: Any, rng: Random) -> str:
    """Change a place of a container that is ours."""
    named = isinstance(container, Object)
    roll = rng.random()
    if roll < 0.06:
        del container[index]
        return f"drop {path}"
    if roll < 0.12:
        container.insert(rng.randrange(len(container) + 1), container[index])
        return f"repeat {path}"
    if roll < 0.2:
        return _swap(container, index, path, rng)
    key = container[index][0] if named else None
    if named and roll < 0.32:
        new = _other_text(key, rng, [pair[0] for pair in container])
        container[index] = [new, container[index][1]]
        return f"rename {path}: {new!r:.60}"
    old = _value(container, index)
    new = origin if roll < 0.4 else _other_value(old, rng)
    container[index] = [key, new] if named else new
    return f"{path}: {old!r:.60} -> {new!r:.60}"


def _swap(container: list, index: int, path: str, rng: Random) -> str:
    """Swap two entries, or of an object only their keys."""
    other = rng.randrange(len(container))
    a, b = container[index], container[other]
    if isinstance(container, Object) and rng.random() < 0.5:
        a, b = [a[0], b[1]], [b[0], a[1]]
    container[index], container[other] = b, a
    return f"swap {path} with entry {other}"


def _other_value(old: Any, rng: Random) -> Any:
    """Make another value, mostly of the same type."""
    if rng.random() < 0.25:
        return rng.choice(ODD)
    if rng.random() < 0.05:
        return [old]
    if isinstance(old, bool):
        return not old
    if isinstance(old, int):
        near = (old + 1, old - 1, 2 * old, old // 2, -old, old + 32, old * 128, old + 2**32)
        return rng.choice((*near, rng.choice(NUMBERS)))
    if isinstance(old, float):
        return rng.choice((*FLOATS, -old, old * 2, int(old) if abs(old) < 1e9 else 1, str(old)))
    if isinstance(old, str):
        return _other_text(old, rng, WORDS)
    if isinstance(old, bytes):
        return other_bytes(old, rng)
    if isinstance(old, list):
        return type(old)(reversed(old)) if rng.random() < 0.5 else type(old)(old[:-1])
    return rng.choice(ODD)


def _other_text(old: Any, rng: Random, others: Any) -> str:
    """Change a letter of a text, shorten it, lengthen it, or take another one."""
    old = str(old)
    place = rng.randrange(len(old) + 1)
    letter = chr(rng.choice((0, 32, 48, 49, 95, 97, 120, 233, 0x20AC)))
    return rng.choice(
        (
            old[:place] + letter + old[place + 1 :],
            old[:place] + old[place + 1 :],
            old[:place] + letter + old[place:],
            old.upper(),
            str(rng.choice(others)),
            str(rng.choice(WORDS)),
        )
    )


def other_bytes(old: bytes, rng: Random) -> bytes:
    """Flip, overwrite, cut, lengthen or fill bytes, at the start and end as often as anywhere."""
    data = bytearray(old)
    size = len(data)
    place = rng.choice(
        (0, max(size - 4, 0), rng.randrange(size + 1), rng.randrange(size // 4 + 1) * 4)
    )
    action = rng.randrange(7)
    if action == 0 and place < size:
        data[place] ^= 1 << rng.randrange(8)
    elif action == 1:
        bits = rng.choice(BITS)
        data[place : place + len(bits)] = bits
        del data[max(size, 1) :]
    elif action == 2:
        del data[place:]
    elif action == 3:
        del data[place : place + rng.choice((1, 2, 4, 32))]
    elif action == 4:
        data[place:place] = bytes(rng.choice((1, 2, 4, 32, 4096)))
    elif action == 5 and place < size:
        data[place] = rng.randrange(256)
    else:
        data[:] = rng.choice((b"\0", b"\xff", b"\x55", struct.pack("<f", 1.5))) * size
        del data[size:]
    return bytes(data)


#: Text of the containers of valid trees, which most mutated trees share; by id.
_known: dict[int, str] = {}


def remember(tree: Any) -> Any:
    """Keep the JSON of each container of a tree that lives for ever and never changes."""
    if isinstance(tree, list):
        for one in tree:
            remember(one[1] if isinstance(tree, Object) else one)
        _known[id(tree)] = to_json(tree)
    return tree


def to_json(node: Any) -> str:
    """Write a tree as JSON; keys may stand twice, and numbers may be NaN."""
    if isinstance(node, list) and id(node) in _known:
        return _known[id(node)]
    if isinstance(node, Object):
        return "{" + ",".join(f"{json.dumps(str(key))}:{to_json(one)}" for key, one in node) + "}"
    if isinstance(node, list):
        return "[" + ",".join(map(to_json, node)) + "]"
    if isinstance(node, Raw):
        return str(node)
    return json.dumps(node.decode("latin-1") if isinstance(node, bytes) else node)


# What a writer of binary files takes from a tree whose values may have any type.


def integer(value: Any, bits: int) -> int:
    """An unsigned number of so many bits."""
    return value & 2**bits - 1 if isinstance(value, int) else 0


def text(value: Any) -> bytes:
    """The bytes of a string."""
    return value if isinstance(value, bytes) else str(value or "").encode("utf-8", "surrogatepass")


def items(value: Any) -> list:
    """The entries of a list."""
    return value if isinstance(value, list) else []


def pairs(value: Any) -> list[tuple[str, Any]]:
    """The pairs of an object; a list has its places as keys."""
    if isinstance(value, Object):
        return [(str(key), one) for key, one in value]
    return [(str(place), one) for place, one in enumerate(items(value))]
