"""Hook of MkDocs: the site has the repository's paths, and each file that a page links to."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

#: A repository's file as the target of a link or an image; group 1 is the path.
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)(?:#[^)\s]*)?\)")
_CODE = re.compile(r"^(`{3,}).*?^\1`*$|`[^`\n]+`", re.M | re.S)


def linked_files(root: Path, first: list[Path]) -> list[Path]:
    """Find the files to which pages link, directly or through other pages.

    Parameters
    ----------
    root : top folder of the repository
    first : pages from which to start

    Returns
    -------
    These pages and all linked files, in the order in which they are found
    """
    found = dict.fromkeys(first)
    waiting = [*first]
    while waiting:
        page = waiting.pop()
        if page.suffix != ".md":
            continue
        for path in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
            file = (page.parent / path).resolve()
            if file.is_file() and file.is_relative_to(root) and file not in found:
                found[file] = None
                waiting.append(file)
    return [*found]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the pages by those of the repository, under their paths in the repository."""
    docs = Path(config.docs_dir)
    root = docs.parent
    # Files of the theme stay.
    kept = Files([file for file in files if file.src_dir != config.docs_dir])
    first = [root / "README.md", *sorted(docs.glob("*.md")), docs / "site" / "site.css"]
    for file in linked_files(root, first):
        path = file.relative_to(root).as_posix()
        kept.append(File.generated(config, path, abs_src_path=str(file)))
    return kept
