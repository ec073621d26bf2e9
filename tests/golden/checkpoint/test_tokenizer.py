"""Tokenizers as transformers reads them."""

import json
import re

import pytest

from trilith.golden import CheckpointError
from trilith.golden.checkpoint.tokenizer import load_tokenizer
from trilith.golden.data import PYDOC

TEXTS = (
    "Return a list of",
    "",
    " two  spaces, <s> a tag </s> and <think>a mark</think> .",
    "naïve café 你好 🙂 l'été don't I'm\n\tx = [1, 22, 333]\r\n\r\n",
    "<|endoftext|>word<|endoftext|> word",
    "<mask>a <mask> b<pad><unk>",
)

TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [
        {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    ],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {
        "<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}
    },
}
TRUNCATION = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
PADDING = {
    "strategy": {"Fixed": 64},
    "direction": "Left",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "<|endoftext|>",
}


def flags(content, **changes):
    return {
        "content": content,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "single_word": False,
        "special": True,
    } | changes


#: Changes to pydoc's tokenizer.json, then tokenizer_config.json, then other files.
VARIANTS = {
    "plain": ({}, {}, {}),
    "truncation": ({"truncation": TRUNCATION}, {}, {}),
    "padding": ({"padding": PADDING}, {}, {}),
    "both": ({"truncation": TRUNCATION, "padding": PADDING}, {}, {}),
    "begin of text": ({"post_processor": TEMPLATE}, {}, {}),
    "add_bos_token": ({}, {"bos_token": "<|endoftext|>", "add_bos_token": True}, {}),
    "add_eos_token": (
        {"post_processor": TEMPLATE},
        {"eos_token": "<|endoftext|>", "add_eos_token": True, "add_bos_token": False},
        {},
    ),
    "add_prefix_space": ({}, {"add_prefix_space": True}, {}),
    "named tokens": ({}, {"bos_token": "<s>", "eos_token": "</s>"}, {}),
    "a named token in the vocabulary": ({}, {"eos_token": "list"}, {}),
    "named tokens with flags": (
        {},
        {"mask_token": {"__type": "AddedToken", **flags("<mask>", lstrip=True)}},
        {},
    ),
    "extra special tokens": ({}, {"additional_special_tokens": ["<think>", "</think>"]}, {}),
    "extra special tokens by name": ({}, {"extra_special_tokens": {"image_token": "<think>"}}, {}),
    "added tokens": (
        {},
        {
            "added_tokens_decoder": {
                "1025": flags("</s>", special=False),
                "0": flags("<|endoftext|>"),
                "1024": flags("<s>"),
            }
        },
        {},
    ),
    "the older files": (
        {},
        {},
        {
            "special_tokens_map.json": {"bos_token": "<s>", "pad_token": flags("<pad>")},
            "added_tokens.json": {"<s>": 1024, "<think>": 1025},
        },
    ),
    "an older file that is not read": (
        {},
        {"added_tokens_decoder": {"1024": flags("<s>")}},
        {"added_tokens.json": {"<think>": 1025}},
    ),
    "special tokens split": ({}, {"split_special_tokens": True}, {}),
    "clean-up, ignored by BPE": ({}, {"clean_up_tokenization_spaces": True}, {}),
    "clean-up, forced": (
        {},
        {
            "clean_up_tokenization_spaces": True,
            "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output": True,
        },
        {},
    ),
    "a stored length": (
        {"truncation": TRUNCATION},
        {"model_max_length": 5, "padding_side": "left", "truncation_side": "left"},
        {},
    ),
}


@pytest.fixture
def make(tmp_path):
    original = json.loads((PYDOC / "tokenizer.json").read_text())

    def make(changes=(), config=None, others=()):
        (tmp_path / "tokenizer.json").write_text(json.dumps(original | dict(changes)))
        if config is not None:
            full = {"tokenizer_class": "PreTrainedTokenizerFast"} | config
            (tmp_path / "tokenizer_config.json").write_text(json.dumps(full))
        for name, content in dict(others).items():
            (tmp_path / name).write_text(json.dumps(content))
        return tmp_path

    return make


@pytest.mark.parametrize(("changes", "config", "others"), VARIANTS.values(), ids=VARIANTS)
def test_as_transformers_reads_it(make, changes, config, others):
    transformers = pytest.importorskip(
        "transformers", reason="needs transformers: pip install 'trilith[parity]'"
    )
    folder = make(changes, config, others)
    theirs, ours = transformers.AutoTokenizer.from_pretrained(folder), load_tokenizer(folder)
    for text in TEXTS:
        tokens = ours.encode(text).ids
        assert tokens == theirs(text)["input_ids"], text
        assert ours.decode(tokens) == theirs.decode(tokens, skip_special_tokens=True)
        assert ours.decode(tokens, skip_special_tokens=False) == theirs.decode(tokens)


def test_a_missing_and_a_broken_tokenizer(tmp_path):
    file = tmp_path / "tokenizer.json"
    with pytest.raises(CheckpointError, match=f"^{file}: the model's tokenizer is missing"):
        load_tokenizer(tmp_path)
    file.write_text("{}")
    with pytest.raises(CheckpointError, match=f"^{file}: must be a tokenizer: "):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # The library's Rust code panics, which is no Exception in Python.
        ({"continuing_subword_prefix": "##"}, "must be a tokenizer: slice index starts at 1 but "),
        # The library says so only when a text has an unknown letter.
        ({"unk_token": "<unk>"}, "unk_token must be a token of the vocabulary, not '<unk>'; "),
    ],
)
def test_a_tokenizer_that_the_library_fails_on(tmp_path, change, message):
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]} | change
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": model}))
    with pytest.raises(CheckpointError, match=f"^{re.escape(f'{file}: {message}')}"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
        {"model": {"type": "Unigram", "unk_id": 7, "vocab": [["a", -1.0]]}},
        {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}},
    ],
)
def test_failures_of_the_library_are_one_error(make, capfd, changes):
    folder = make(changes)
    rule = f"^{folder / 'tokenizer.json'}: must be a tokenizer: "
    with pytest.raises(CheckpointError, match=rule) as caught:
        load_tokenizer(folder)
    assert len(str(caught.value).splitlines()) == 1
    assert capfd.readouterr().err == ""


#: Content of tokenizer_config.json, or of another file, and the message.
WRONG = {
    "a number that is taken": (
        "tokenizer_config.json",
        {"added_tokens_decoder": {"5": {"content": "<new>"}}},
        "the token '<new>' must have the number 5, but is 1024 in tokenizer.json; take the "
        "model's own files",
    ),
    "no numbers": (
        "tokenizer_config.json",
        {"added_tokens_decoder": {"x": {}}},
        "added_tokens_decoder must map numbers to tokens",
    ),
    "an unknown field": (
        "tokenizer_config.json",
        {"added_tokens_decoder": {"1024": {"content": "<new>", "color": 1}}},
        "must describe an added token, not {'content': '<new>', 'color': 1}",
    ),
    "no text": (
        "tokenizer_config.json",
        {"bos_token": ""},
        "an added token must have a text, not ''",
    ),
    "no list": (
        "tokenizer_config.json",
        {"extra_special_tokens": "<s>"},
        "extra_special_tokens must be a list, not '<s>'",
    ),
    "no boolean": (
        "tokenizer_config.json",
        {"split_special_tokens": "yes"},
        "split_special_tokens must be true or false, not 'yes'",
    ),
    "files of several versions": (
        "tokenizer_config.json",
        {"fast_tokenizer_files": ["tokenizer.json", "tokenizer.4.0.json"]},
        "fast_tokenizer_files must name tokenizer.json only, not ['tokenizer.json', "
        "'tokenizer.4.0.json']; remove the key, and call the right file tokenizer.json",
    ),
    "older tokens": ("added_tokens.json", {"<s>": "1"}, "must map tokens to numbers"),
}


@pytest.mark.parametrize(("name", "content", "message"), WRONG.values(), ids=WRONG)
def test_wrong_files_beside_the_tokenizer(make, name, content, message):
    folder = make(others={name: content})
    with pytest.raises(CheckpointError, match=f"^{re.escape(f'{folder / name}: {message}')}$"):
        load_tokenizer(folder)


def test_dropout_of_a_training_script_is_switched_off(tmp_path):
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}
    stored = {"version": "1.0", "added_tokens": [], "model": model | {"dropout": 1.0}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(stored))
    assert load_tokenizer(tmp_path).encode("ab").ids == [2]


@pytest.mark.parametrize(
    "config",
    [
        {"eos_token": "<s>"},
        {"eos_token": {"content": "<s>"}},
        {"extra_special_tokens": ["<s>"]},
        {"extra_special_tokens": {"image": "<s>"}},
    ],
)
def test_named_tokens_are_special(tmp_path, config):
    """A special token is left out of the text that tokens decode to."""
    (tmp_path / "tokenizer.json").write_text((PYDOC / "tokenizer.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(tmp_path)
    number = tokenizer.token_to_id("<s>")
    assert tokenizer.get_added_tokens_decoder()[number].special
    assert "<s>" not in tokenizer.decode([number])
