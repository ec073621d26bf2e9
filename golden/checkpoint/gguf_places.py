"""Types of GGUF whose number stands for several layouts: told apart by the space of their tensors.

A header gives the first byte of each tensor, and the space up to the next tensor shows the size of
its blocks. Nothing else in a file does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError
from .gguf_layouts import BY_NUMBER, LAYOUTS, BlockLayout

__all__ = ["SHARED", "Space", "asked_layouts", "find_layouts"]

#: Numbers that several projects use, and what else they stand for.
SHARED = {
    42: "three layouts of as many projects",
    43: "STQ1_0 in an open pull request of llama.cpp, and free for others",
    135: "IQ2_BN of ik_llama.cpp, with a scale in front of each row, and without in old files",
    142: "PQ2_0 of PrismML's fork, and free for others",
    143: "PTQ1_0 of PrismML's fork, and G8_0 of another project",
}


@dataclass(frozen=True, kw_only=True)
class Space:
    """Space of a tensor in a file.

    Parameters
    ----------
    kind : number of the type
    shape : (N, K), or another shape
    size : bytes from its first byte to the next tensor's, or to the end of the file
    last : no tensor follows
    """

    kind: int
    shape: tuple[int, ...]
    size: int
    last: bool

    def fits(self, layout: BlockLayout, alignment: int) -> bool:
        """Tell whether a layout fills the space, but for the padding."""
        if self.shape[-1] % layout.weights:
            return False
        size = layout.stored_bytes(self.shape)
        padded = -(-size // alignment) * alignment
        return size <= self.size <= padded if self.last else self.size == padded


def asked_layouts() -> list[str]:
    """List the layouts that a caller may state for the number 42, in lower case."""
    return [layout.name.lower() for layout in BY_NUMBER[42]]


def find_layouts(
    path: Path,
    spaces: Mapping[str, Space],
    alignment: int,
    asked: str | None,
    *,
    any_layout: bool = False,
) -> dict[str, BlockLayout]:
    """Find the layout of each tensor of a ternary type.

    Parameters
    ----------
    path : the file, for messages
    spaces : the tensors by name; those of other types are left out
    alignment : multiple at which tensors begin
    asked : one of ``asked_layouts`` for tensors of the number 42; None where their space shows it
    any_layout : take any of several layouts, because no weight is read

    Returns
    -------
    The layouts by name of the tensor

    Raises
    ------
    CheckpointError
        If tensors of one number have no layout in common or several, or not the one that is asked.
    """
    kinds = {space.kind for space in spaces.values()}
    if asked is not None and asked not in asked_layouts():
        raise CheckpointError(f"type42 must be one of {', '.join(asked_layouts())}, not {asked!r}")
    if asked is not None and 42 not in kinds:
        raise CheckpointError(
            f"{path}: the layout of the type 42 must not be given, because no tensor is of this "
            "type; leave out --type42 (type42)"
        )
    found = {}
    for kind in sorted(kinds & BY_NUMBER.keys()):
        names = [name for name, space in spaces.items() if space.kind == kind]
        if kind in SHARED:
            wanted = LAYOUTS[asked.upper()] if asked and kind == 42 else None
            layouts = _common(path, {name: spaces[name] for name in names}, alignment, wanted)
            if len(layouts) > 1 and not any_layout:
                raise CheckpointError(
                    f"{path}: the type {kind} stands for {_names(layouts)}, and the padded sizes "
                    f"of the tensors leave open which; name it with --type42 (type42=)"
                )
            layout = layouts[0]
        else:
            (layout,) = BY_NUMBER[kind]
        found |= dict.fromkeys(names, layout)
    return found


def _common(
    path: Path, spaces: Mapping[str, Space], alignment: int, wanted: BlockLayout | None
) -> list[BlockLayout]:
    """Find the layouts that fit all tensors of a number; the wanted one alone, if it is given."""
    kind = next(iter(spaces.values())).kind
    layouts, left, example = BY_NUMBER[kind], BY_NUMBER[kind], ""
    for name, space in spaces.items():
        fitting = [one for one in layouts if space.fits(one, alignment)]
        if not fitting:
            known = " or ".join(_words(one) for one in layouts)
            raise CheckpointError(
                f"{path}: {name} of the type {kind} must have the size of {known}, not "
                f"{space.size} bytes for {_shape(space)} weights; the number also stands for other "
                "layouts, or the file is damaged or truncated"
            )
        if not set(fitting) & set(left):
            raise CheckpointError(
                f"{path}: tensors of the type {kind} must have one layout, but {example} has the "
                f"size of {_names(left)} and {name} that of {_names(fitting)}; take a file of one "
                "program"
            )
        left = [one for one in left if one in fitting]
        example = name
    if wanted is not None and wanted not in left:
        raise CheckpointError(
            f"{path}: the layout of the type {kind} must be {_names(left)}, as the sizes of the "
            f"tensors are, not {wanted.name.lower()}; leave out --type42 (type42)"
        )
    return [wanted] if wanted else left


def _names(layouts: list[BlockLayout]) -> str:
    return " or ".join(one.name.lower() for one in layouts)


def _words(layout: BlockLayout) -> str:
    row = f" after {layout.row_bytes} of a row" if layout.row_bytes else ""
    return f"{layout.name} ({layout.size} bytes per {layout.weights} weights{row})"


def _shape(space: Space) -> str:
    return " x ".join(map(str, space.shape))
