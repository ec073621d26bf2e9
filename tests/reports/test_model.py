"""The report of one's own model."""

import re
import shutil
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from trilith.golden import load_checkpoint
from trilith.golden.checkpoint.write_gguf import write_gguf
from trilith.golden.data import PYDOC
from trilith.reports.model import model_page
from trilith.sim.cost.memories import find_memory
from trilith.sim.cost.model_file import read_model_file
from trilith.sim.cost.technology import named_technology
from trilith.sim.tools.errors import EstimateError

HOSTILE = "<img src=x onerror=alert(1)>\"'&"
ESCAPED = "&lt;img src=x onerror=alert(1)&gt;&#34;&#39;&amp;"


def page_of(path, memory=None, context=512):
    technology = named_technology("jouppi7")
    memory = memory or find_memory("lpddr5")
    return model_page(read_model_file(path), memory, technology, context)


def table(page, name):
    """Rows of a table of the page as texts by the head of the column."""
    found = re.search(rf'aria-label="{name}".*?<table>(.*?)</table>', page, re.DOTALL)[1]
    heads = re.findall(r"<th [^>]*>(.*?)</th>", found, re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", found.partition("<tbody>")[2], re.DOTALL)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in rows]
    return [dict(zip(heads, one, strict=True)) for one in cells]


@pytest.fixture(scope="module")
def page():
    return page_of(PYDOC)


def test_facts_and_sizes_are_those_of_the_files(page):
    facts = {row["name"]: row["value"] for row in table(page, "Facts")}
    stored = load_file(PYDOC / "model.safetensors").values()
    assert facts["all tensors"] == f"{sum(one.nbytes for one in stored):,} bytes (measured)"
    assert facts["linear down"] == "3 of 256 outputs x 256 inputs"
    assert facts["head"] == "BF16, 16 bits per weight, the embedding as head"
    parts = {row["part"]: row for row in table(page, "Size by part")}
    assert {name: row["modules"] for name, row in parts.items()} == {
        "matrices of the layers": "21",
        "vectors of the layers": "12",
        "embedding": "1",
        "other tensors": "1",
    }
    assert parts["embedding"]["bytes"] == f"{1024 * 256 * 2:,}"
    assert sum(float(row["share, %"]) for row in parts.values()) == pytest.approx(100, abs=0.02)


def test_zeros_of_each_kind_and_of_each_matrix(page):
    trits = {name: one.trits for name, one in load_checkpoint(PYDOC).ternary.items()}
    rows = {row["matrix"]: row for row in table(page, "Ternary matrices")}
    assert {name: float(row["zeros, %"]) for name, row in rows.items()} == {
        name: pytest.approx(100 * np.mean(one == 0), abs=0.01) for name, one in trits.items()
    }
    kinds = {row["module"]: row for row in table(page, "Modules")}
    down = [np.mean(one == 0) for name, one in trits.items() if name.endswith("down_proj")]
    kind = kinds["model.layers.*.mlp.down_proj"]
    assert float(kind["zeros, %"]) == pytest.approx(100 * np.mean(down), abs=0.01)
    assert (kind["count"], kind["shape"], kind["stored type"]) == ("3", "256 x 256", "U8")
    embedding = kinds["model.embed_tokens"]
    assert (embedding["shape"], embedding["zeros, %"]) == ("1024 x 256", "")


def test_the_estimate_has_each_design_and_its_assumptions(page):
    rows = [row["design"] for row in table(page, "Estimates")]
    assert rows[:4] == ["micro", "bitnet", "array-1024", "array-1024x4"]
    assert rows[4:] == ["fp16, equal macs", "int8, equal macs", "w4a16, equal macs"]
    names = [row["name"] for row in table(page, "Assumptions")]
    designs = [f"design {name}" for name in rows]
    assert names == ["step", "model", "capacity", "energy", "zeros", *designs, "memory"]
    figures = {row["figure"]: row["source"] for row in table(page, "Energies")}
    assert figures["bit of memory"] == "LPDDR5-6400; full system, secondary source"


def test_context_and_memory_change_the_estimate(page):
    other = page_of(PYDOC, memory=find_memory("ddr3"), context=64)
    assert table(other, "Estimates") != table(page, "Estimates")
    texts = {row["name"]: row["value"] for row in table(other, "Assumptions")}
    assert texts["step"] == "a token of 1 sequence at context 64"
    assert texts["memory"].startswith("ddr3-1333x16: ")


def test_a_configuration_alone(tmp_path):
    shutil.copy(PYDOC / "config.json", tmp_path)
    for path in (tmp_path, tmp_path / "config.json"):
        page = page_of(path)
        assert "<strong>Weights were not read:</strong>" in page
        assert 'aria-label="Modules"' not in page
        assert 'href="#kinds"' not in page
        assert len(table(page, "Estimates")) == 7


def test_weights_that_are_not_ternary(tiny):
    folder, trits, _ = tiny(tie_word_embeddings=True)
    stored = load_file(folder / "model.safetensors")
    for name, one in trits.items():
        del stored[f"{name}.weight_scale"]
        stored[f"{name}.weight"] = (one * 0.3 + 0.01).astype(ml_dtypes.bfloat16)
    save_file(stored, folder / "model.safetensors")
    page = page_of(folder)
    assert "<p>Zeros were not counted: " in page
    assert 'aria-label="Ternary matrices"' not in page
    assert {row["zeros, %"] for row in table(page, "Modules")} == {""}


def test_a_gguf_file_has_the_same_zeros(tmp_path, page):
    write_gguf(load_checkpoint(PYDOC), tmp_path / "a.gguf", "tq2_0")
    other = page_of(tmp_path / "a.gguf")
    zeros = [
        {row["matrix"]: row["zeros, %"] for row in table(one, "Ternary matrices")}
        for one in (page, other)
    ]
    assert zeros[0] == zeros[1]
    assert {row["stored type"] for row in table(other, "Ternary matrices")} == {"TQ2_0"}


def test_names_of_tensors_and_files_are_no_html(tiny):
    vector = np.ones(4, np.float32)
    folder, _, _ = tiny(f"a{HOSTILE}", {HOSTILE: vector}, tie_word_embeddings=True)
    page = page_of(folder)
    assert "<img" not in page
    assert f"<title>Model a{ESCAPED}</title>" in page
    assert f"<h1>Model a{ESCAPED}</h1>" in page
    assert ESCAPED in [row["module"] for row in table(page, "Modules")]


def test_designs_that_the_memory_does_not_hold(page):
    size = 0.002  # GB: weights and cache of FP16 take more, ternary ones less.
    other = page_of(PYDOC, replace(find_memory("lpddr5"), gigabytes=size))
    rows = {row["design"]: row for row in table(other, "Estimates")}
    refused = rows["fp16, equal macs"]
    assert (refused["tokens/s"], refused["mJ/token"]) == ("", "")
    assert re.fullmatch(
        r"not estimated: pydoc needs .* GB on design fp16, equal macs, .* and memory "
        r"lpddr5-6400x64 has 0.002 GB; choose a larger memory or a smaller model",
        refused["bound"],
    )
    assert rows["array-1024"] == table(page, "Estimates")[2]
    names = [row["name"] for row in table(other, "Assumptions")]
    assert "design array-1024" in names
    assert "design fp16, equal macs" not in names


def test_a_memory_that_holds_no_design_is_refused():
    with pytest.raises(EstimateError, match=r"^pydoc needs .* GB on design micro, .* model$"):
        page_of(PYDOC, replace(find_memory("lpddr5"), gigabytes=1e-6))


def test_a_browser_shows_the_page(browse, page):
    width, faults = browse(page, "return document.documentElement.scrollWidth;")
    assert faults == []
    assert width <= 390
    links = re.findall(r'href="#(\w+)"', page)
    assert [name for name in links if f'id="{name}"' not in page] == []
