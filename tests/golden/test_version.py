import re
import tomllib
from pathlib import Path

import pytest

import trilith

ROOT = Path(__file__).parents[2]


def test_the_version_has_one_source():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert trilith.__version__ == project["version"]
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited[1] == project["version"]


def test_no_other_name_is_there():
    with pytest.raises(AttributeError, match=r"^module 'trilith' has no attribute 'version'$"):
        trilith.version  # noqa: B018
