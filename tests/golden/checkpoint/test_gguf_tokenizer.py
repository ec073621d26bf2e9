"""Tokenizers inside GGUF files."""

import json
import re
from functools import cache

import pytest
from gguf import GGUFWriter
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers

from trilith.golden import CheckpointError
from trilith.golden.checkpoint.gguf_file import GgufFile
from trilith.golden.checkpoint.gguf_tokenizer import (
    gguf_end_tokens,
    read_gguf_tokenizer,
    tokenizer_metadata,
)
from trilith.golden.checkpoint.tokenizer import load_tokenizer
from trilith.golden.data import PYDOC

TEXTS = (
    "Return a list of",
    "",
    "  two  spaces and a tail  ",
    "naïve café 你好 🙂 l'été DON'T I'm 12345 x=[1, 22, 333]",
    "\n\tfor x in range(10):\r\n\r\n    print(x)",
    "<|endoftext|>word<|endoftext|> word",
    "<s>a </s> b<unk> <0x0A> <think>c</think>",
)
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTE_LEVEL = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": False,
}


def split(pattern):
    """The first of the two steps that a tokenizer.json of this kind has."""
    step = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [step, BYTE_LEVEL]}


def begin(token, number):
    """The post-processor that puts a token in front, as Llama's tokenizer.json has it."""
    sequence = {"Sequence": {"id": "A", "type_id": 0}}
    first = {"SpecialToken": {"id": token, "type_id": 0}}
    special = {token: {"id": token, "ids": [number], "tokens": [token]}}
    pair = [first, sequence, first, {"Sequence": {"id": "B", "type_id": 1}}]
    return {
        "type": "TemplateProcessing",
        "single": [first, sequence],
        "pair": pair,
        "special_tokens": special,
    }


def byte_level(**changes):
    """Pydoc's tokenizer with changes to its file."""
    state = json.loads((PYDOC / "tokenizer.json").read_text())
    state["model"] |= changes.pop("model", {})
    return Tokenizer.from_str(json.dumps(state | changes))


@cache
def sentencepiece(prefix=True):
    """A tokenizer as transformers makes it of a SentencePiece model with pieces and scores."""
    texts = json.loads((PYDOC / "held_out.json").read_text())[:60]
    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    made.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=400, show_progress=False))
    special = ["<unk>", "<s>", "</s>"]
    learned = [one for one in made.get_vocab() if one not in special]
    learned.sort(key=made.get_vocab().get, reverse=False)
    single = [one for one in learned if len(one) == 1]
    many = [one for one in learned if len(one) > 1]
    pieces = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *many, *single]
    numbers = {piece: place for place, piece in enumerate(pieces)}
    merges = [
        (piece[:cut], piece[cut:])
        for piece in many
        for cut in sorted(range(1, len(piece)), reverse=True)
        if piece[:cut] in numbers and piece[cut:] in numbers
    ]
    state = json.loads(
        Tokenizer(
            models.BPE(numbers, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
        ).to_str()
    )
    space, mark = {"String": " "}, {"String": "▁"}
    state["normalizer"] = {
        "type": "Sequence",
        "normalizers": [
            *([{"type": "Prepend", "prepend": "▁"}] if prefix else []),
            {"type": "Replace", "pattern": space, "content": "▁"},
        ],
    }
    state["decoder"] = {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": mark, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            *([{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []),
        ],
    }
    state["post_processor"] = begin("<s>", 1)
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.add_special_tokens([AddedToken(one, normalized=False) for one in special])
    return tokenizer


def with_marks():
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken("<think>", normalized=False)])
    tokenizer.add_special_tokens([AddedToken("</think>", normalized=False)])
    return tokenizer


#: Tokenizers, and what GGUF calls them.
MADE = {
    "gpt-2": (byte_level, "gpt2", "gpt-2"),
    "added tokens": (with_marks, "gpt2", "gpt-2"),
    "llama 3": (
        lambda: byte_level(
            pre_tokenizer=split(LLAMA3),
            post_processor=begin("<|endoftext|>", 0),
            model={"ignore_merges": True},
        ),
        "gpt2",
        "llama-bpe",
    ),
    "qwen 2": (
        lambda: byte_level(pre_tokenizer=split(LLAMA3.replace("{1,3}", ""))),
        "gpt2",
        "qwen2",
    ),
    "smollm": (
        lambda: byte_level(
            pre_tokenizer={
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Digits", "individual_digits": True},
                    BYTE_LEVEL | {"use_regex": True},
                ],
            }
        ),
        "gpt2",
        "smollm",
    ),
    "sentencepiece": (sentencepiece, "llama", "default"),
    "sentencepiece, no prefix": (lambda: sentencepiece(prefix=False), "llama", "default"),
}


def write(file, metadata, *, arch="llama"):
    """Write a GGUF file of metadata only, by the library's own choice of types."""
    writer = GGUFWriter(file, arch)
    for key, value in metadata.items():
        add = {str: writer.add_string, bool: writer.add_bool, int: writer.add_uint32}
        add.get(type(value), writer.add_array)(f"tokenizer.ggml.{key}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return file


@pytest.mark.parametrize(("make", "model", "pre"), MADE.values(), ids=MADE)
def test_round_trip(tmp_path, make, model, pre):
    original = make()
    size = original.get_vocab_size() + 3
    bos = 1 if model == "llama" else 0
    metadata = tokenizer_metadata(original, size, bos=bos, ends=[2])
    assert (metadata["model"], metadata["pre"]) == (model, pre)
    assert len(metadata["tokens"]) == size
    metadata |= {"bos_token_id": bos}
    again = load_tokenizer(write(tmp_path / "a.gguf", metadata))
    for text in TEXTS:
        tokens = original.encode(text).ids
        assert again.encode(text).ids == tokens, text
        assert again.decode(tokens) == original.decode(tokens)
        keep = {"skip_special_tokens": False}
        assert again.decode(tokens, **keep) == original.decode(tokens, **keep)


#: Transformers takes other values of tokenizer.ggml.pre for GPT-2's, and ignores add_space_prefix.
@pytest.mark.parametrize("name", sorted({*MADE} - {"smollm", "sentencepiece, no prefix"}))
def test_as_transformers_reads_the_file(tmp_path, name):
    transformers = pytest.importorskip(
        "transformers", reason="needs transformers: pip install 'trilith[parity]'"
    )
    make, model, _ = MADE[name]
    original = make()
    bos = 1 if model == "llama" else 0
    metadata = tokenizer_metadata(original, original.get_vocab_size(), bos=bos, ends=[2])
    write(tmp_path / "a.gguf", metadata | {"bos_token_id": bos, "eos_token_id": 0})
    ours = load_tokenizer(tmp_path / "a.gguf")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, gguf_file="a.gguf")
    for text in TEXTS:
        # There, no second space is put in front of a space, and none behind a special token.
        if model == "gpt2" or not re.match(" |<s>", text):
            assert ours.encode(text).ids == theirs(text)["input_ids"], text


def plain(**changes):
    """Metadata of a legal byte-level tokenizer of three tokens; None removes a key."""
    legal = {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": ["a", "b", "ab"],
        "token_type": [1, 1, 1],
        "merges": ["a b"],
    }
    return {key: value for key, value in (legal | changes).items() if value is not None}


SPM = {"model": "llama", "pre": None, "merges": None, "scores": [0.0, 0.0, -1.0]}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (
            plain(model=None),
            "the model's tokenizer is missing: the file has none, and tokenizer.json is not beside "
            "it; copy it there",
        ),
        (
            plain(model="t5"),
            "tokenizer.ggml.model must be gpt2 or llama, not 't5'; copy the model's tokenizer.json "
            "beside the file",
        ),
        (
            plain(pre="default"),
            "tokenizer.ggml.pre must be one of gpt-2, phi-2, mpt, olmo, jais, smollm, starcoder, "
            "refact, command-r, codeshell, llama-bpe, llama3, llama-v3, falcon3, falcon-h1, "
            "pixtral, midm-2.0, lfm2, jina-v5-nano, qwen2, deepseek-r1-qwen, stablelm2, not "
            "'default'; copy the model's tokenizer.json beside the file",
        ),
        (
            plain(remove_extra_whitespaces=True),
            "tokenizer.ggml.remove_extra_whitespaces is not understood, and may change tokens; "
            "copy the model's tokenizer.json beside the file",
        ),
        (plain(tokens=[1, 2, 3]), "tokenizer.ggml.tokens must be an array of strings"),
        (plain(tokens=None), "tokenizer.ggml.tokens must be an array of strings"),
        (
            plain(tokens=["a", "b", "a"]),
            "tokenizer.ggml.tokens must have each token once, not 'a' twice",
        ),
        (
            plain(token_type=[1]),
            "tokenizer.ggml.token_type must have a number for each of 3 tokens",
        ),
        (plain(merges=None), "tokenizer.ggml.merges must be an array of strings"),
        (plain(merges=["a b c"]), "tokenizer.ggml.merges must be pairs of tokens, not 'a b c'"),
        (plain(merges=["ab"]), "tokenizer.ggml.merges must be pairs of tokens, not 'ab'"),
        (
            plain(add_bos_token=True),
            "tokenizer.ggml.bos_token_id must be the number of one of 3 tokens, not absent",
        ),
        (
            plain(add_bos_token=True, bos_token_id=3),
            "tokenizer.ggml.bos_token_id must be the number of one of 3 tokens, not 3",
        ),
        (plain(add_bos_token=1), "tokenizer.ggml.add_bos_token must be true or false, not 1"),
        (plain(eos_token_id="b"), "tokenizer.ggml.eos_token_id must be a number, not 'b'"),
        (plain(**SPM | {"scores": None}), "tokenizer.ggml.scores is missing"),
        (plain(**SPM, unknown_token_id=9), "tokenizer.ggml.unknown_token_id must be the number"),
    ],
)
def test_refusals(tmp_path, metadata, message):
    file = GgufFile(write(tmp_path / "a.gguf", metadata))
    with pytest.raises(CheckpointError, match=f"^{re.escape(f'{file.path}: {message}')}"):
        _ = gguf_end_tokens(file), read_gguf_tokenizer(file)


def test_a_merge_of_unknown_tokens(tmp_path):
    file = GgufFile(write(tmp_path / "a.gguf", plain(merges=["a c"])))
    with pytest.raises(CheckpointError, match=f"^{file.path}: must have a legal tokenizer: "):
        read_gguf_tokenizer(file)


def test_keys_that_change_nothing(tmp_path):
    changes = {"add_sep_token": False, "mask_token_id": 1, "add_space_prefix": False}
    file = GgufFile(write(tmp_path / "a.gguf", plain(**changes)))
    assert read_gguf_tokenizer(file).encode("abba").ids == [2, 1, 0]


@pytest.mark.parametrize(
    ("changes", "ends"),
    [
        ({}, []),
        ({"eos_token_id": 2, "eot_token_id": 1, "eom_token_id": 2}, [2, 1]),
        ({"fim_pad_token_id": 1, "fim_rep_token_id": 0, "fim_sep_token_id": 2}, [1, 0, 2]),
        ({"tokens": ["a", "<|eot_id|>", "</s>"], "token_type": [1, 3, 3]}, [1]),
        ({"tokens": ["a", "<|eot_id|>", "ab"], "token_type": [1, 1, 1]}, []),
        ({"tokens": ["a", "<|im_end|>", "ab"], "token_type": [1, 4, 1], "eos_token_id": 0}, [0, 1]),
    ],
)
def test_end_tokens(tmp_path, changes, ends):
    assert gguf_end_tokens(GgufFile(write(tmp_path / "a.gguf", plain(**changes)))) == ends


@pytest.mark.parametrize(
    ("make", "size", "message"),
    [
        (byte_level, 1000, "the tokenizer has 1024 tokens, and the model 1000"),
        (
            lambda: byte_level(normalizer={"type": "NFC"}),
            1024,
            "the tokenizer is neither byte-level BPE of a splitting that GGUF has a name for, nor "
            "SentencePiece's BPE",
        ),
        (
            lambda: byte_level(pre_tokenizer=split(r"\w+|\W+")),
            1024,
            "the tokenizer is neither byte-level BPE of a splitting that GGUF has a name for, nor "
            "SentencePiece's BPE",
        ),
        (
            lambda: byte_level(post_processor=begin("a", 65)),
            1024,
            "the tokenizer puts other tokens around a text than those that begin and end one",
        ),
    ],
)
def test_tokenizers_that_gguf_cannot_hold(make, size, message):
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        tokenizer_metadata(make(), size, bos=0, ends=[0])
