import pytest

from trilith.sim.cost.model_shapes import GPT3, MODELS
from trilith.sim.cost.paper import paper_energy, paper_ratio
from trilith.sim.cost.profiles import find_profile
from trilith.sim.tools.errors import EstimateError

#: BitNet (arXiv 2310.11453), Table 1: J for 512 tokens; 7 nm MUL and ADD, 45 nm MUL and ADD.
TABLE1 = {
    ("6.7b", 32): (4.41, 1.28, 12.46, 3.03),
    ("6.7b", 16): (1.14, 0.54, 3.70, 1.35),
    ("6.7b", 1): (0.02, 0.04, 0.08, 0.13),
    ("13b", 32): (8.58, 2.49, 24.23, 5.89),
    ("13b", 16): (2.23, 1.05, 7.20, 2.62),
    ("13b", 1): (0.04, 0.06, 0.12, 0.24),
    ("30b", 32): (20.09, 5.83, 56.73, 13.80),
    ("30b", 16): (5.21, 2.45, 16.87, 6.13),
    ("30b", 1): (0.06, 0.14, 0.20, 0.53),
}


def test_the_recipe_gives_table_1():
    equal, others = 0, []
    for (size, bits), published in TABLE1.items():
        model = GPT3[f"gpt3-{size}"]
        new = paper_energy(model, bits=bits)
        old = paper_energy(model, bits=bits, profile=find_profile("horowitz45"))
        for value, cell in zip(
            (new.multiply, new.add, old.multiply, old.add), published, strict=True
        ):
            if round(value, 2) == cell:
                equal += 1
            else:
                others.append(abs(value - cell))
    assert equal == 34
    assert max(others) < 0.01


def test_the_recipe_gives_the_ratios():
    published = (8.8, 11.0, 15.0, 18.6, 21.7, 29.1, 32.9, 38.8, 41.2)
    for model, ratio in zip(GPT3.values(), published, strict=True):
        assert paper_ratio(model) == pytest.approx(ratio, abs=0.1)


@pytest.mark.parametrize(
    ("name", "bits", "joules"),
    [
        ("llama3.2-1b", 16, 0.258),
        ("gemma3-1b", 16, 0.186),
        ("qwen2.5-1.5b", 16, 0.347),
        ("smollm2-1.7b", 16, 0.425),
        ("minicpm-2b", 16, 0.649),
        ("bitnet-2b4t", 1, 0.028),
    ],
)
def test_the_recipe_gives_the_2b4t_report(name, bits, joules):
    """Table 1 of arXiv 2504.12285, which the recipe was not made from."""
    assert round(paper_energy(MODELS[name], bits=bits).total, 3) == joules


def test_bad_recipes():
    model = MODELS["bitnet-2b4t"]
    with pytest.raises(EstimateError, match=r"^bits must be one of 32, 16, 1, not 8$"):
        paper_energy(model, bits=8)
    with pytest.raises(EstimateError, match=r"^tokens must be from 1 to 16777216, not 0$"):
        paper_ratio(model, tokens=0)
