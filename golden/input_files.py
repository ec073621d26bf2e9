"""Input files that are not trusted: which can be read, and what a wrong one is.

A file that a reader refuses is often of another kind: the pointer that Git LFS leaves where the
large file was not fetched, a page of an error, a compressed file, a pickle. ``mistaken`` names it.
"""

import os
import stat
from pathlib import Path

__all__ = [
    "IMAGE_FORMAT",
    "is_image",
    "is_onnx",
    "is_safetensors",
    "mistaken",
    "shown",
    "unreadable",
]

#: Name of the format in images of models for the token core, which are safetensors files.
IMAGE_FORMAT = "trilith token core image"

#: Bytes of a file that are looked at.
_HEAD = 4096

#: Longest text of a value in a message.
_LONGEST = 60

#: Kinds of files by their first bytes, and remedies.
_KINDS = (
    (b"version https://git-lfs", "a Git LFS pointer", "fetch the file itself with 'git lfs pull'"),
    (b"/annex/objects/", "a git-annex pointer", "fetch the file itself with 'git annex get'"),
    (b"\x1f\x8b\x08", "compressed by gzip", "decompress it with 'gunzip'"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "decompress it with 'unzstd'"),
    (b"\xfd7zXZ\x00", "compressed by xz", "decompress it with 'unxz'"),
    (b"BZh", "compressed by bzip2", "decompress it with 'bunzip2'"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    (b"Rar!\x1a", "a RAR archive", "unpack it"),
    (b"GGUF", "a GGUF file", "name a file of the other kind"),
    (b"ggml", "an old GGML file", "convert the original model again"),
    (b"lmgg", "an old GGML file", "convert the original model again"),
    (b"fmgg", "an old GGML file", "convert the original model again"),
    (b"tjgg", "an old GGML file", "convert the original model again"),
    (b"\x89HDF", "an HDF5 file", "convert it to safetensors"),
    (b"\x93NUMPY", "a NumPy file", "convert it to safetensors"),
    (b"\x7fELF", "a program", "name another file"),
    (b"%PDF", "a PDF document", "name another file"),
    (b"\x89PNG", "a picture", "name another file"),
)

#: Kinds of paths that are no regular files.
_PATHS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}

#: First bytes of the fields behind the version in an ONNX file.
_ONNX_FIELDS = (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42)

_PICKLE = "a pickle, which can run code when it is read"
_CONVERT = "convert it with save_pretrained(safe_serialization=True)"


def shown(value: object) -> str:
    """Write a value for a message: its ``repr``, shortened in the middle if it is long."""
    if isinstance(value, int) and value.bit_length() > 3 * _LONGEST:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, str) and len(value) > 4 * _LONGEST:
        value = value[: 2 * _LONGEST] + value[-2 * _LONGEST :]
    text = repr(value)
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST + 20 else f"{text[:half]}...{text[-half:]}"


def unreadable(file: Path, wanted: str) -> str:
    """Find out why a path cannot be read as a file; only a regular file that is not empty can.

    Parameters
    ----------
    file : the path
    wanted : what the file must be, such as ``a GGUF file``

    Returns
    -------
    The message of an error; empty if the file can be read.
    """
    try:
        status = os.stat(file)
        kind = _PATHS.get(stat.S_IFMT(status.st_mode))
        if kind:
            return f"{file}: must be {wanted}, not {kind}"
        if not status.st_size:
            return f"{file}: must be {wanted}, not an empty file; download or write it again"
        with file.open("rb"):
            return ""
    except (OSError, ValueError) as error:  # ValueError: a zero in the name.
        reason = error.strerror if isinstance(error, OSError) else error
        return f"{file}: must be {wanted} that can be read: {reason}"


def mistaken(file: Path, wanted: str, reason: object, content: bytes = b"") -> str:
    """Write the message of an error for a file that a reader refuses.

    Parameters
    ----------
    file : a file that can be read
    wanted : what it must be, such as ``a GGUF file``
    reason : the reader's reason, for a file that is of no other kind
    content : what the file holds, where it is compressed and may be; by default the file is read

    Returns
    -------
    The message: another kind with a remedy, or the reason, with the beginning of a text.
    """
    head = content[:_HEAD]
    if not head:
        with file.open("rb") as opened:
            head = opened.read(_HEAD)
    kind, remedy = _kind(head)
    if kind and kind not in wanted:
        return f"{file}: must be {wanted}, not {kind}; {remedy}"
    start = head[:_LONGEST].decode("utf-8", "replace").strip()
    begins = "".join(start.split()).isprintable() and "\N{REPLACEMENT CHARACTER}" not in start
    return f"{file}: must be {wanted}: {reason}" + (f"; it begins with {start!r}" if begins else "")


def is_safetensors(head: bytes) -> bool:
    """Tell whether a file is of safetensors by its first 9 bytes: a size below 4 GiB, and JSON."""
    return head[4:9] == b"\0\0\0\0{"


def is_image(file: Path) -> bool:
    """Tell whether a file says that it is an image for the token core, whole or damaged."""
    if unreadable(file, "an image"):
        return False
    with file.open("rb") as opened:
        head = opened.read(_HEAD)
    return is_safetensors(head) and IMAGE_FORMAT.encode() in head


def _starts_as_onnx(head: bytes) -> bool:
    """Tell whether a file begins as ONNX: the version of its format, then another field.

    The version is field 1, a small integer. The first byte of a field is its number times 8 plus
    its kind; fields 2 to 8 of a model are texts or messages (kind 2), but for number 5.
    """
    return len(head) > 2 and head[0] == 0x08 and 3 <= head[1] < 32 and head[2] in _ONNX_FIELDS


def is_onnx(file: Path) -> bool:
    """Tell whether a file is of ONNX, by its name or its first bytes."""
    if unreadable(file, "an ONNX file"):
        return False
    with file.open("rb") as opened:
        return file.suffix == ".onnx" or _starts_as_onnx(opened.read(3))


def _kind(head: bytes) -> tuple[str, str]:
    """Return the kind of a file by its first bytes, and a remedy; both are empty if not known."""
    if is_safetensors(head):
        return "a safetensors file", "name a file of the other kind"
    if _starts_as_onnx(head):
        return "an ONNX file", "'trilith sim --network' runs networks in QONNX"
    for magic, kind, remedy in _KINDS:
        if head.startswith(magic):
            return kind, remedy
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return "a web page", "download the file itself; the page says why it was sent"
    if head.startswith(b"PK\x03\x04"):
        if b".pkl" in head:
            return _PICKLE, _CONVERT
        return "a zip archive", "unpack it"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return _PICKLE, _CONVERT
    if head[257:262] == b"ustar":
        return "a tar archive", "unpack it"
    if not head.strip(b"\0"):
        return "blank: it begins with zeros", "download the file again"
    return "", ""
