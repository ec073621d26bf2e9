"""``trilith report model``: one HTML page about a model of one's own."""

import os
from pathlib import Path

from .options import OptionError, argument, force_option, option
from .output import progress
from .technology import TechnologyOptions, chosen_technology

__all__ = ["model"]


class _Options(TechnologyOptions):
    """Options of the command."""

    path: Path = argument(
        ..., "Folder, .safetensors or .gguf file; or a config.json, which has no weights."
    )
    out: Path = option(..., "HTML file to write.")
    memory: str | None = option(
        None,
        "Memory of the estimate; 'trilith estimate --list' prints all names. Default: lpddr5, or "
        "the first memory of --technology.",
    )
    context: int = option(512, "Tokens that the estimated token attends to.", min=1, max=2**27)
    force: bool = force_option()


def model(options: _Options) -> None:
    """Write one HTML page about a model of your own, which needs no network.

    The page has the sizes of the model, the formats of its head and embedding, the bytes of each
    part, and the share of zeros of each ternary matrix (measured). Below stands an estimate of
    tokens per second and energy on engines of this project and on FP16, INT8 and W4A16 arrays
    (modelled), with all assumptions.

    Examples:
      trilith report model model.gguf --out model.html

      trilith report model bitnet-b1.58-2B-4T --out model.html --memory ddr4 --context 2048
    """
    from ..golden.checkpoint.tensors import input_files
    from ..golden.files import check_outputs, new_file
    from ..golden.input_files import shown
    from ..reports.model import model_page
    from ..sim.cost.model_file import read_model_file

    if not os.path.exists(options.path):  # Unlike the method, it knows names that cannot be.
        raise OptionError(
            "PATH must be a folder or a file of a model, and there is none named "
            f"{shown(str(options.path))}"
        )
    inputs = input_files(options.path)
    check_outputs([options.out], inputs=inputs, force=options.force)
    technology = chosen_technology(options)
    memory = technology.memory(options.memory)
    with progress("reading") as show:
        file = read_model_file(options.path, progress=show)
    page = model_page(file, memory, technology, options.context)
    with new_file(options.out, inputs=inputs, force=options.force) as partial:
        partial.write_text(page, encoding="utf-8")
    print(options.out)
