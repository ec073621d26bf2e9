"""Each faulty pass of ``trilith sim`` breaks one rule, and no other."""

from itertools import pairwise
from types import SimpleNamespace

from trilith.sim.rtl import core_faults

POSITIONS, VOCABULARY, TOKENS = 64, 32, 4


def broken(commands):
    """Rules of a pass that its commands (token, position, more) break."""
    rules = {
        "size": len(commands) <= TOKENS,
        "order": all(b[1] == a[1] + 1 for a, b in pairwise(commands)),
        "context": all(position < POSITIONS for _, position, _ in commands),
        "vocabulary": all(token < VOCABULARY for token, _, _ in commands),
    }
    return {rule for rule, kept in rules.items() if not kept}


class Core:
    """Refuses each list of commands, and runs each pass."""

    seen = None

    def __init__(self, image):
        self.image = image

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def commands(self, commands):
        self.seen.append(commands)
        return SimpleNamespace(error=True, tokens=0, vectors=[])

    def run(self, tokens, position):
        return SimpleNamespace(vectors=(tokens, position))


def test_faulty_passes(monkeypatch):
    golden = SimpleNamespace(difference=lambda vectors, head: None)
    monkeypatch.setattr(core_faults, "TokenCoreSimulator", Core)
    monkeypatch.setattr(core_faults, "GoldenTrace", lambda model, tokens, cache: golden)
    monkeypatch.setattr(core_faults, "CoreCache", lambda sizes: None)
    monkeypatch.setattr(Core, "seen", [])
    sizes = SimpleNamespace(max_positions=POSITIONS, vocabulary=VOCABULARY)
    case = SimpleNamespace(
        model=SimpleNamespace(config=sizes),
        config=SimpleNamespace(tokens=TOKENS),
        prompt=(1, 2, 3, 4, 5),
    )
    found = list(core_faults.passes(case, None))
    assert [run.vectors for run in found] == 8 * [([1, 2, 3, 4], 0)]
    kinds = [broken(commands) for commands in Core.seen]
    assert kinds == [
        *2 * [{"size"}],
        *3 * [{"order"}],
        {"context"},
        *2 * [{"vocabulary"}],
    ]
    # The last command alone is the fault, or the first one where the name says so.
    sizes, context, first, last = Core.seen[0], Core.seen[5], *Core.seen[6:]
    assert [broken(one) for one in (sizes[:-1], context[:-1], first[1:], last[:-1])] == 4 * [set()]
