"""The workflow of continuous integration, as far as it can be checked without running it."""

import os
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_that_the_workflow_runs_the_checks_of_the_repository():
    (job,) = WORKFLOW["jobs"].values()
    # YAML reads the key "on" as true.
    assert WORKFLOW[True] == {"push": {"branches": ["main"]}, "pull_request": None}
    runs = [step["run"] for step in job["steps"] if "run" in step]
    assert runs[-1] == ".ci/run"
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    (setup,) = (step for step in job["steps"] if "setup-python" in step.get("uses", ""))
    assert setup["with"] == {"python-version": "${{ matrix.python }}"}


def test_that_the_versions_of_python_are_those_of_the_package():
    (job,) = WORKFLOW["jobs"].values()
    tested = job["strategy"]["matrix"]["python"]
    classified = [
        one.rpartition(" ")[2]
        for one in PROJECT["classifiers"]
        if one.startswith("Programming Language :: Python :: 3.")
    ]
    assert all(isinstance(one, str) for one in tested)
    assert PROJECT["requires-python"] == f">={tested[0]}"
    assert [classified[0], classified[-1]] == tested
