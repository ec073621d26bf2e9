"""The mutator of ``make mutate``: what it changes, what it leaves, and what it finds.

``tests/mutation`` has the changes (``operators``), the copy of the checkout (``bench``,
``server``), the choice of tests (``coverage_map``) and the whole (``campaign``).
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

pytest.importorskip("coverage", reason="coverage is in the extra test")

from mutation.bench import Bench
from mutation.campaign import ROOMS, Campaign, equivalent, files_of, sample
from mutation.coverage_map import CoverageMap
from mutation.operators import Mutant, legal, mutants_of

CHECKOUT = Path(__file__).parents[1]

#: Code, and all that may stand in its place.
CHANGES = [
    ("x = 5", {"5 -> 6", "5 -> 4"}),
    ("x = 2.0", {"2.0 -> 2.2"}),
    ("x = True", {"True -> False"}),
    ("x = a + b", {"a + b -> (a - b)"}),
    ("x = a // b", {"a // b -> (a * b)"}),
    ("x = a << b", {"a << b -> (a >> b)"}),
    ("x = a & b", {"a & b -> (a | b)"}),
    ("x = a < b", {"a < b -> (a <= b)"}),
    ("x = a == b", {"a == b -> (a != b)"}),
    ("x = a in b", {"a in b -> (a not in b)"}),
    ("x = a is None", {"a is None -> (a is not None)"}),
    ("x = a and b", {"a and b -> (a or b)", "a and b -> (a)", "a and b -> (b)"}),
    ("x = ~a", {"~a -> (a)"}),
    ("x = min(a, b)", {"min -> max"}),
    ("x = all(a)", {"all -> any"}),
    ("x += y", {"x += y -> x -= y"}),
    ("x[k] = y", {"x[k] = y -> pass"}),
    ("x.y = z", {"x.y = z -> pass"}),
    ("f(x)", {"f(x) -> pass"}),
    ("if a:\n    pass", {"a -> not a"}),
    ("x = [y for y in z if y]", {"y -> True"}),
    ("x = a if b else c", {"b -> not b"}),
    ("def f():\n    raise E(1)", {"raise E(1) -> pass"}),
    ("def f(a=3): pass", {"3 -> 4", "3 -> 2"}),
    ("for x in y:\n    continue", {"continue -> pass"}),
    ("m.d.sync += a.eq(b)", {"m.d.sync += a.eq(b) -> pass"}),
    ("m.d.comb += [a.eq(b), c.eq(d)]", {"a.eq(b) -> *[]", "c.eq(d) -> *[]"}),
    ("with m.If(a):\n    x = y", {"a -> (~a).bool()", "a -> 0"}),
    ("with m.Elif(a):\n    x = y", {"a -> (~a).bool()", "a -> 0"}),
    ("x = Signal(init=y)", {"Signal(init=y) -> Signal()"}),
    ("x = Signal(n, reset_less=True)", set()),
    ("x: int = field(default=1, repr=False)", {"1 -> 2", "1 -> 0"}),
    ("x = unsigned(n)", {"n -> n - 1"}),
    ("x = signed(n)", {"n -> n - 1", "signed -> unsigned"}),
]


def changes(source, file="a.py"):
    return {f"{one.old} -> {one.new or 'pass'}" for one in mutants_of(file, source)}


@pytest.mark.parametrize(("source", "expected"), CHANGES)
def test_changes_of_code(source, expected):
    assert {one.replace("not (a)", "not a").replace("not (b)", "not b").replace("~(a)", "(~a)")
            .replace("(n) - 1", "n - 1") for one in changes(source)} == expected  # fmt: skip


@pytest.mark.parametrize(
    "source",
    [
        '"""Two words of 8 bits."""',
        'def f():\n    """Return 1 + 1."""',
        "x: Literal[3]",
        "def f(x: int | None) -> Array[8]: pass",
        '__all__ = ["a" + "b"]',
        "def f():\n    return f'{1 + 1} words'",
        "class A:\n    def __repr__(self):\n        return 1 + 1",
        "import a.b",
        "if TYPE_CHECKING:\n    x = 1",
        "assert_never: int",
    ],
)
def test_what_is_for_readers_stays(source):
    assert not changes(source)


def test_a_message_of_an_error_stays():
    assert changes("def f(x):\n    raise ValueError(f'{x + 1} must be 2', 2)") == {
        "raise ValueError(f'{x + 1} must be 2', 2) -> pass"
    }


def test_numbers_of_data_files():
    source = """
        # 1
        x = 3 # 4
        "5 KB" = 0.5
        source = "6"
        y = [7, true]
        z = { lsb = 1 }
    """
    assert changes(source, "a.toml") == {
        *("x = 3 -> x = 4", "x = 3 -> x = 2", '"5 KB" = 0.5 -> "5 KB" = 0.55'),
        *("y = 7 -> y = 8", "y = 7 -> y = 6", "y = true -> y = false"),
        *("lsb = 1 -> lsb = 2", "lsb = 1 -> lsb = 0"),
    }


@pytest.mark.parametrize("room", ROOMS)
def test_mutants_of_the_rooms_can_be_compiled_and_have_names_of_their_own(room):
    """The smallest file of each room that has ten mutants or more."""
    files = [one for one in files_of(CHECKOUT, room) if one.endswith(".py")]
    for file in sorted(files, key=lambda one: (CHECKOUT / one).stat().st_size):
        source = (CHECKOUT / file).read_text()
        mutants = mutants_of(file, source)
        if len(mutants) >= 10:
            break
    assert len({one.name for one in mutants}) == len(mutants)
    assert sum(legal(one, source) for one in mutants) > 0.9 * len(mutants)


def test_the_sample_does_not_move():
    chosen = sample(CHECKOUT, "hw/engine", 12, 0)
    assert [one.name for one in sample(CHECKOUT, "hw/engine", 5, 0)] == [
        one.name for one in chosen[:5]
    ]
    assert sample(CHECKOUT, "hw/engine", 12, 1) != chosen
    assert len({one.place for one in chosen}) == 12


def test_a_name_does_not_depend_on_other_functions():
    source = "def f(x):\n    return x + 1\n"
    before = {one.name for one in mutants_of("a.py", source)}
    moved = {one.name for one in mutants_of("a.py", f"Y = 3\n\n\n{source}")}
    assert before < moved


@pytest.mark.long
def test_that_a_sample_of_five_of_each_room_is_killed_again(tmp_path):
    """Each mutant meets the test that killed it, as ``results.jsonl`` has it."""
    campaign = Campaign(CHECKOUT, tmp_path)
    with closing(campaign.bench):
        found = {
            mutant.name: campaign.kills_again(mutant)
            for room in ROOMS
            for mutant in sample(CHECKOUT, room, 5, 0)
        }
    # The others never end, end the process, are equal to their source, or survive.
    met = {name: killed for name, killed in found.items() if killed is not None}
    assert len(found) == 5 * len(ROOMS)
    assert len(met) >= 0.8 * len(found), "too few kills are known: make mutate, then --save"
    assert [name for name, killed in met.items() if not killed] == []


@pytest.fixture
def checkout(tmp_path):
    """A checkout with one source file and its tests."""
    files = {
        "golden/area.py": "SIDES = 2\n\n\ndef area(a, b):\n    if a < 0:\n        return -1\n"
        "    return a * b\n\n\ndef wait(n):\n    while n > 0:\n        n -= 1\n\n\n"
        "def unused(n):\n    return n + 1\n",
        "tests/golden/test_area.py": "from golden.area import SIDES, area, wait\n\n\n"
        "def test_area():\n    assert area(2, 3) == 6\n\n\n"
        "def test_negative():\n    assert area(-1, 3) == -1\n\n\n"
        "def test_wait():\n    wait(3)\n\n\n"
        "def test_sides():\n    assert SIDES == 2\n",
        "pyproject.toml": '[tool.pytest.ini_options]\naddopts = ["--import-mode=importlib"]\n',
        ".gitignore": "build\n",
    }
    for name, text in files.items():
        file = tmp_path / "checkout" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path / "checkout", check=True)
    return tmp_path / "checkout"


@pytest.fixture
def campaign(checkout, tmp_path, monkeypatch):
    monkeypatch.setattr("mutation.campaign.START", 2.0)
    monkeypatch.setattr("mutation.campaign._UNKNOWN", 0.5)
    made = Campaign(checkout, tmp_path / "build")
    yield made
    made.bench.close()


def wait_until(condition, seconds):
    """Wait for a condition; return whether it came in time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def runs(pid):
    """Whether a process runs; one that ended and is not yet collected does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def find(file, start):
    (found,) = [
        one
        for one in mutants_of("golden/area.py", file.read_text())
        if one.name.removeprefix("golden/area.py ") == start
    ]
    return found


@pytest.mark.parametrize("measured", [True, False])
def test_faults_are_killed_by_the_tests_that_execute_them(checkout, campaign, measured):
    file = checkout / "golden/area.py"
    before = file.read_text()
    if measured:
        assert list(campaign.measure()) == ["tests/golden/test_area.py"]
        assert list(campaign.measure()) == []
    for change, status, by, run in (
        ("area: a * b -> (a + b)", "killed", "test_area", 1),
        ("area: -1 -> (1)", "killed", "test_negative", 1),
        ("area: a < 0 -> (a <= 0)", "survived", "", 4),
        ("module: 2 -> 3", "killed", "test_sides", 3),
        ("wait: n -= 1 -> n += 1", "timeout", "timeout", 0),
        ("unused: n + 1 -> (n - 1)", "survived", "", 4),
    ):
        result = campaign.try_mutant(find(file, change), "golden numerics")
        assert (result.status, result.by.split("::")[-1]) == (status, by), change
        if measured and status == "survived":
            assert result.run == run
    assert file.read_text() == before == (campaign.bench.folder / "golden/area.py").read_text()


def test_what_fails_without_a_change_kills_nothing(checkout, campaign):
    """A test that has become wrong, and a process that ends."""
    tests, file = checkout / "tests/golden/test_area.py", checkout / "golden/area.py"
    assert list(campaign.measure())
    mutant = find(file, "area: a < 0 -> (a <= 0)")
    for name, text in (("wrong", "assert area(2, 3) == 7"), ("ends", "import os; os._exit(1)")):
        before = tests.read_text()
        copy = campaign.bench.folder / "tests/golden/test_area.py"
        copy.write_text(before.replace("assert area(2, 3) == 6", text))
        if name == "wrong":
            result = campaign.try_mutant(mutant, "golden numerics")
            assert (result.status, result.by) == ("survived", "")
        else:
            with pytest.raises(RuntimeError, match=r"^the tests must end without any change; see "):
                campaign.try_mutant(find(file, "area: a * b -> (a + b)"), "golden numerics")
        copy.write_text(before)


def test_a_mutant_that_ends_the_process_is_killed(checkout, campaign):
    file = checkout / "golden/area.py"
    mutant = find(file, "area: a * b -> (a + b)")
    result = campaign.try_mutant(
        replace(mutant, text="__import__('os')._exit(1)"), "golden numerics"
    )
    assert (result.status, result.by) == ("killed", "broken")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_process(checkout, tmp_path, number):
    """Neither the server, nor the test that runs, nor a program that it started."""
    pids = tmp_path / "pids"
    (checkout / "tests/golden/test_area.py").write_text(
        "import os, subprocess\n\n\ndef test_waits():\n"
        "    program = subprocess.Popen(['sleep', '600'])\n"
        "    found = f'{os.getppid()} {os.getpid()} {program.pid}'\n"
        f"    with open({str(pids)!r} + '.new', 'w') as file:\n        file.write(found)\n"
        f"    os.rename(file.name, {str(pids)!r})\n    program.wait()\n"
    )
    run = (
        "import sys\nfrom pathlib import Path\nfrom mutation.bench import Bench\n"
        "bench = Bench(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "bench.run({'tests/golden/test_area.py': []}, 600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", run, checkout, tmp_path / "copy"],
        env=os.environ | {"PYTHONPATH": str(CHECKOUT / "tests")},
        # A shell's background job ignores SIGINT, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert wait_until(pids.exists, 60)
    left = [int(pid) for pid in pids.read_text().split()]
    try:
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert wait_until(lambda: not any(map(runs, left)), 20), left
    finally:
        for pid in filter(runs, left):
            os.kill(pid, signal.SIGKILL)
    assert process.returncode == -number
    # The server does not complain that nobody reads its answer.
    assert [line for line in errors.splitlines() if "Error" in line] == []


def test_a_server_that_ends_is_reported(checkout, tmp_path):
    bench = Bench(checkout, tmp_path / "copy")
    assert bench.run({"tests/golden/test_area.py": []}, 60)["status"] == "passed"
    (bench.folder / "tests/golden/test_area.py").write_text(
        "import os, signal\n\n\ndef test_ends():\n    os.kill(os.getppid(), signal.SIGKILL)\n"
    )
    message = r"^the server of tests ended with status -9; start again$"
    with pytest.raises(RuntimeError, match=message):
        bench.run({"tests/golden/test_area.py": []}, 60)


def test_results_are_kept_until_the_source_or_their_tests_change(checkout, campaign, tmp_path):
    file, tests = checkout / "golden/area.py", checkout / "tests/golden/test_area.py"
    before = {path: path.read_text() for path in (file, tests)}
    killed, survivor = find(file, "area: a * b -> (a + b)"), find(file, "area: a < 0 -> (a <= 0)")
    endless = find(file, "wait: n -= 1 -> n += 1")
    for one in (killed, survivor, endless):
        campaign.try_mutant(one, "golden numerics")
    more = checkout / "tests/golden/test_more.py"
    for changed, text, kept in (
        (tests, before[tests], ["killed", "survived", "timeout"]),
        # Another file of tests: the test that killed a mutant still does.
        (more, "def test_more():\n    pass\n", ["killed", None, None]),
        (tests, before[tests].replace("== 6", "> 0"), [None, None, None]),
        (file, before[file] + "\n", [None, None, None]),
    ):
        changed.write_text(text)
        again = Campaign(checkout, tmp_path / "build", 1)
        found = [again.stored(one, file.read_text()) for one in (killed, survivor, endless)]
        assert [one and one.status for one in found] == kept
        for path, old in before.items():
            path.write_text(old)
        more.unlink(missing_ok=True)


def test_lines_of_each_test(checkout, tmp_path):
    bench = Bench(checkout, tmp_path / "copy")
    tests = CoverageMap(checkout, tmp_path / "measured", ["golden"])
    measured = tests.measure("tests/golden/test_area.py", bench)
    bench.close()
    file = checkout / "golden/area.py"
    covering = {
        change: [name.split("::")[1] for name in measured.covering(find(file, change), source)]
        for source in (file.read_text(), file.read_text() + "\n")
        for change in ("area: -1 -> (1)", "area: a * b -> (a + b)", "wait: n > 0 -> (n >= 0)")
    }
    # The file has changed since: the tests of the whole function.
    both = ["test_area", "test_negative"]
    assert covering == {
        "area: -1 -> (1)": both,
        "area: a * b -> (a + b)": both,
        "wait: n > 0 -> (n >= 0)": ["test_wait"],
    }
    source = file.read_text()
    assert len(measured.covering(find(file, "area: -1 -> (1)"), source)) == 1


def test_all_tests_of_a_fixture_that_executes_the_line_count(checkout, tmp_path):
    """Only the first one executes it; another room has no tests beside the source."""
    (checkout / "tests/hw").mkdir()
    (checkout / "tests/hw/test_plan.py").write_text(
        "import pytest\nfrom golden.area import area\n\n\n"
        "@pytest.fixture(scope='module')\ndef plan():\n    return area(2, 3)\n\n\n"
        "def test_kind(plan):\n    assert isinstance(plan, int)\n\n\n"
        "def test_value(plan):\n    assert plan == 6\n"
    )
    tests = CoverageMap(checkout, tmp_path / "measured", ["hw"])
    with closing(Bench(checkout, tmp_path / "copy")) as bench:
        measured = tests.measure("tests/hw/test_plan.py", bench)
    file = checkout / "golden/area.py"
    mutant, source = find(file, "area: a * b -> (a + b)"), file.read_text()
    assert [name.split("::")[1] for name in measured.covering(mutant, source)] == ["test_kind"]
    chosen = [
        name for stage in tests.stages(mutant, source, set()) for name in chain(*stage.values())
    ]
    assert [name.split("::")[1] for name in chosen] == ["test_kind", "test_value"]


def test_the_same_code_is_equivalent():
    source = "x = 1 + 1\n"
    for new, same in (("2", True), ("3", False), ("2.0", False)):
        mutant = Mutant("a.py", "", "operator", "1 + 1", new, 0, (1, 1), 4, 9, new)
        assert equivalent(mutant, source) == same
