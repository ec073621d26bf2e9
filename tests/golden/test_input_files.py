"""Wrong files: every reader names what it was given."""

import gzip
import io
import lzma
import os
import pickle
import re
import tarfile
import zipfile

import numpy as np
import pytest

from trilith.golden import CheckpointError, load_checkpoint
from trilith.golden.checkpoint.load import read_config
from trilith.golden.checkpoint.tokenizer import load_tokenizer
from trilith.golden.errors import TrilithError
from trilith.golden.files import read_json
from trilith.golden.input_files import is_image, is_onnx, is_safetensors, mistaken, shown
from trilith.sim.gatelevel.liberty import read_liberty

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4665\nsize 12345\n"


def archive(make):
    """Bytes of a file that a function writes."""
    file = io.BytesIO()
    make(file)
    return file.getvalue()


def torch_zip(file):
    """Write what torch.save writes, as far as its first bytes go."""
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("archive/data.pkl", b"x")


def plain_zip(file):
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("a.txt", b"x")


def tar(file):
    with tarfile.open(fileobj=file, mode="w") as made:
        made.addfile(tarfile.TarInfo("a"))


PICKLE = (
    "a pickle, which can run code when it is read; convert it with "
    "save_pretrained(safe_serialization=True)"
)
#: Content of a wrong file, and what is said about it.
WRONG = {
    "pointer": (POINTER, "a Git LFS pointer; fetch the file itself with 'git lfs pull'"),
    "annex": (
        b"/annex/objects/SHA256E-s1--ab.gguf\n",
        "a git-annex pointer; fetch the file itself with 'git annex get'",
    ),
    "page": (
        b"\n<!DOCTYPE html><html>Sign in</html>",
        "a web page; download the file itself; the page says why it was sent",
    ),
    "xml": (
        b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
        "a web page; download the file itself; the page says why it was sent",
    ),
    "zip": (archive(plain_zip), "a zip archive; unpack it"),
    "tar": (archive(tar), "a tar archive; unpack it"),
    "xz": (lzma.compress(b"x"), "compressed by xz; decompress it with 'unxz'"),
    "torch": (archive(torch_zip), PICKLE),
    "pickle": (pickle.dumps({}), PICKLE),
    "numpy": (archive(lambda file: np.save(file, [1])), "a NumPy file; convert it to safetensors"),
    "ggml": (b"tjgg" + bytes(64), "an old GGML file; convert the original model again"),
    "blank": (bytes(4096), "blank: it begins with zeros; download the file again"),
}


def read_folder(file):
    file.with_name("config.json").write_text("{}")
    file.rename(file.with_name("model.safetensors"))
    load_checkpoint(file.parent)


#: Readers: name of the file, and what it must be.
READERS = {
    "safetensors": (load_checkpoint, "model.safetensors", "a safetensors or GGUF file"),
    "gguf": (load_checkpoint, "model.gguf", "a GGUF file"),
    "folder": (read_folder, "model.safetensors", "a safetensors file"),
    "json": (read_json, "config.json", "JSON"),
    "config": (read_config, "config.json", "JSON"),
    "tokenizer": (load_tokenizer, "tokenizer.json", "a tokenizer"),
    "liberty": (read_liberty, "cells.lib", "a Liberty file"),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_names_a_wrong_file(tmp_path, reader, kind):
    read, name, wanted = READERS[reader]
    content, message = WRONG[kind]
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(TrilithError, match=f"^{re.escape(f'{file}: must be {wanted}, not ')}") as e:
        read(file)
    assert str(e.value) == f"{file}: must be {wanted}, not {message}"


@pytest.mark.parametrize("reader", [name for name in READERS if name != "liberty"])
def test_gzip_is_named_where_it_is_not_read(tmp_path, reader):
    read, name, wanted = READERS[reader]
    file = tmp_path / name
    file.write_bytes(gzip.compress(b"{}"))
    with pytest.raises(TrilithError) as error:
        read(file)
    assert str(error.value) == (
        f"{file}: must be {wanted}, not compressed by gzip; decompress it with 'gunzip'"
    )


@pytest.mark.parametrize(
    "reader", ["safetensors", "gguf", "json", "config", "tokenizer", "liberty"]
)
@pytest.mark.parametrize(
    "kind", ["an empty file; download or write it again", "a pipe", "a device"]
)
def test_only_regular_files_are_opened(tmp_path, reader, kind):
    """A pipe without a writer would wait for ever, and /dev/zero fill the memory."""
    read, name, _ = READERS[reader]
    file = tmp_path / name
    if kind == "a pipe":
        os.mkfifo(file)
    elif kind == "a device":
        file.symlink_to("/dev/zero")
    else:
        file.touch()
    with pytest.raises(TrilithError, match=f"^{re.escape(str(file))}: must be .*, not {kind}$"):
        read(file)


def test_a_text_is_shown_where_its_kind_is_not_known(tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_text("Entry not found")
    message = "it has neither's first bytes; download it again; it begins with 'Entry not found'"
    with pytest.raises(CheckpointError, match=f"{re.escape(message)}$"):
        load_checkpoint(file)


def test_a_folder_with_a_pickle(tmp_path):
    (tmp_path / "pytorch_model.bin").touch()
    message = (
        "found pytorch_model.bin, a pickle; convert it with save_pretrained(safe_serialization"
    )
    with pytest.raises(CheckpointError, match=re.escape(message)):
        load_checkpoint(tmp_path)
    (tmp_path / "z.gguf").touch()
    with pytest.raises(CheckpointError, match=r"found z\.gguf; name that file itself$"):
        load_checkpoint(tmp_path)


def test_long_values_are_shortened():
    assert shown("x" * 10**6) == f"'{'x' * 29}...{'x' * 29}'"
    assert shown(10**400) == "an integer of 1329 bits"
    assert [shown(one) for one in (7, "a", None, 1e300)] == ["7", "'a'", "None", "1e+300"]


#: First bytes of other files, and what they are.
SIGNATURES = [
    (b"\x1f\x8b\x08", "compressed by gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    (b"BZh9", "compressed by bzip2"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"GGUF\x03", "a GGUF file"),
    (b"ggml", "an old GGML file"),
    (b"lmgg", "an old GGML file"),
    (b"fmgg", "an old GGML file"),
    (b"\x89HDF\r\n", "an HDF5 file"),
    (b"\x7fELF", "a program"),
    (b"%PDF-1.7", "a PDF document"),
    (b"\x89PNG\r\n", "a picture"),
    (b'\x10\0\0\0\0\0\0\0{"a": 1}', "a safetensors file"),
    (b"\x08\x08\x12\x01x", "an ONNX file"),
    (b"\x80\x02.", "a pickle, which can run code when it is read"),
    (b"\x80\x05.", "a pickle, which can run code when it is read"),
    (b"<HTML>", "a web page"),
]


@pytest.mark.parametrize(("head", "kind"), SIGNATURES)
def test_kinds_by_first_bytes(tmp_path, head, kind):
    file = tmp_path / "x"
    file.write_bytes(head)
    start = f"{file}: must be JSON, not {kind}; "
    assert mistaken(file, "JSON", "no reason").startswith(start)
    assert mistaken(file, "JSON", "no reason", head).startswith(start)


@pytest.mark.parametrize("head", [b"\x80\x01.", b"\x80\x06.", b"GGU", b"\x08\x02\x12", b"\0x"])
def test_other_first_bytes_are_of_no_kind(tmp_path, head):
    file = tmp_path / "x"
    file.write_bytes(head)
    assert mistaken(file, "JSON", "the reason").startswith(f"{file}: must be JSON: the reason")


@pytest.mark.parametrize(
    ("head", "is_one"),
    [
        (b"\x08\x03\x12", True),
        (b"\x08\x1f\x42", True),
        *((bytes([8, 7, 8 * number + (0 if number == 5 else 2)]), True) for number in range(2, 9)),
        (b"\x08\x02\x12", False),
        (b"\x08\x20\x12", False),
        (b"\x09\x08\x12", False),
        (b"\x08\x08\x13", False),
        (b"\x08\x08", False),
    ],
)
def test_onnx_is_known_by_its_first_bytes_or_its_name(tmp_path, head, is_one):
    file = tmp_path / "x"
    file.write_bytes(head)
    assert is_onnx(file) == is_one
    assert is_onnx(file.rename(tmp_path / "x.onnx"))
    assert not is_onnx(tmp_path / "missing.onnx")


def test_safetensors_and_images_are_known_by_their_first_bytes(tmp_path):
    head = b'\xff\xff\xff\xff\0\0\0\0{"__metadata__":'
    assert is_safetensors(head)
    assert not is_safetensors(head[:8])
    assert not is_safetensors(head.replace(b"\0{", b"\1{"))
    assert not is_safetensors(b" " + head)
    file = tmp_path / "x"
    for content, is_one in (
        (head + b'{"format": "trilith token core image"', True),
        (head + b"{}", False),
        (b"trilith token core image", False),
        (head + bytes(5000) + b"trilith token core image", False),
    ):
        file.write_bytes(content)
        assert is_image(file) == is_one
    assert not is_image(tmp_path)


def test_the_longest_texts_that_are_shown_whole():
    assert shown("x" * 78) == f"'{'x' * 78}'"
    assert shown("x" * 79) == f"'{'x' * 29}...{'x' * 29}'"
    assert shown(["x" * 76]) == f"['{'x' * 76}']"
    assert shown(2**180 - 1) == f"{2**180 - 1}"
    assert shown(2**180) == "an integer of 181 bits"
    assert shown("x" * 240 + "y" * 120) == f"'{'x' * 29}...{'y' * 29}'"
