"""Files of images for the token core: what they hold, and which are refused."""

import hashlib
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from small_core import PAIRS, SIZES

from trilith.golden.data import PYDOC
from trilith.golden.errors import CheckpointError, OutputError
from trilith.golden.network.token_core import CoreModel
from trilith.golden.network.transformer import BitNetModel
from trilith.hw.token.config import CORE_PRESETS
from trilith.hw.token.image import compile_image, core_for
from trilith.hw.token.image_file import check_model, read_image, write_image
from trilith.hw.token.program import INSTRUCTION_BYTES, Op, decode, encode
from trilith.hw.token.program_check import check_program

CONFIG = CORE_PRESETS["pydoc"]
AGAIN = "; compile it again: 'trilith model compile MODEL --out {} --force'"


@pytest.fixture(scope="module")
def model():
    return CoreModel(model=BitNetModel.load(PYDOC))


@pytest.fixture(scope="module")
def image(model):
    return compile_image(model, CONFIG, name="pydoc")


@pytest.fixture(scope="module")
def texts(image, tmp_path_factory):
    """Metadata of the image's file."""
    file = tmp_path_factory.mktemp("image") / "pydoc.image"
    write_image(image, file)
    with safe_open(file, "np") as opened:
        return opened.metadata()


@pytest.fixture
def changed(image, texts, tmp_path):
    """Write the image with other texts, or other tensors; the digest of the content is right."""

    def write(metadata=None, **tensors):
        file = tmp_path / "pydoc.image"
        found = {"memory": image.memory, "weights": image.weights} | tensors
        found = {name: array for name, array in found.items() if array is not None}
        content = [found[name].tobytes() for name in ("memory", "weights") if name in found]
        text = (metadata or {}).get("config", texts["config"])
        digest = hashlib.sha256(b"".join([text.encode(), *content])).hexdigest()
        written = {**texts, "content_digest": digest, **(metadata or {})}
        written = {key: text for key, text in written.items() if text is not None}
        save_file(found, file, metadata=written)
        return file

    return write


def with_instruction(image, place, op=None, flags=None, **fields):
    """The image with an instruction that has another operation, other flags, or other fields."""
    start = place * INSTRUCTION_BYTES
    old = image.program[place]
    flags = dict.fromkeys(old.flags, True) | (flags or {})
    memory = image.memory.copy()
    code = encode(old.op, flags, {**old.fields, **fields})
    code = bytes([code[0] if op is None else op]) + code[1:]
    memory[start : start + INSTRUCTION_BYTES] = np.frombuffer(code, np.uint8)
    return {"memory": memory}


def refused(file, message, config=None):
    with pytest.raises(CheckpointError) as found:
        read_image(file, config)
    assert str(found.value) == f"{file}: {message}" + AGAIN.format(file)


def test_an_image_is_a_file_with_a_listing(model, image, tmp_path):
    assert core_for(model.config) == CONFIG
    file = tmp_path / "pydoc.image"
    listing = write_image(image, file)
    lines = listing.read_text().splitlines()
    assert len(lines) == 3 + 11 * 3 + 2
    assert lines[3].split()[:4] == ["3", "PRODUCT", "load", "gained"]
    with safe_open(file, "np") as opened:
        metadata = opened.metadata()
        assert opened.get_tensor("weights").shape == (3744, 64)
    assert int(metadata["program_words"]) * 64 == len(lines) * INSTRUCTION_BYTES
    assert json.loads(metadata["config"])["hidden_max"] == 256
    with pytest.raises(OutputError, match="exists already"):
        write_image(image, file)


@pytest.mark.parametrize("config", [None, CONFIG])
def test_an_image_is_read_as_it_was_written(model, image, changed, config):
    found = read_image(changed(), config)
    assert found.config == image.config
    assert (found.memory == image.memory).all()
    assert (found.weights == image.weights).all()
    assert (found.program, found.model) == (image.program, "pydoc")
    assert not found.memory.flags.writeable
    check_model(found, model)
    assert found.sizes == {
        "layers": 3, "hidden": 256, "ffn": 256, "activation": "relu2", "heads": 4, "kv_heads": 2,
        "head_size": 64, "context": 256, "vocabulary": 1024,
    }  # fmt: skip


@pytest.mark.parametrize("family", ["bitnet", "llama"])
@pytest.mark.parametrize("tied", [True, False])
def test_programs_of_other_models_are_well_formed(random_model, tmp_path, family, tied):
    sizes = {"head_dim": 24, "num_hidden_layers": 2, "tie_word_embeddings": tied}
    other = CoreModel(model=BitNetModel.load(random_model(family, **sizes)))
    file = tmp_path / "a.image"
    write_image(compile_image(other, core_for(other.config)), file)
    found = read_image(file)
    assert found.model == "without a name"
    assert (found.sizes["ffn"], found.sizes["head_size"], found.sizes["layers"]) == (96, 24, 2)
    assert found.sizes["activation"] == {"bitnet": "relu2", "llama": "silu"}[family]


@pytest.mark.parametrize(
    ("name", "stored"),
    [("a\nb\x1b[31m", "a\\nb\\x1b[31m"), ("\udcff", "\\udcff"), ("模型", "模型")],
)
def test_any_name_can_be_written_and_read(model, tmp_path, name, stored):
    file = tmp_path / "a.image"
    write_image(compile_image(model, CONFIG, name=name), file)
    assert read_image(file).model == stored


def test_another_model_is_refused_by_name(random_model, image):
    other = CoreModel(model=BitNetModel.load(random_model()))
    message = (
        f"a.image: must be compiled from this model, whose digest is {other.digest[:12]}; it is of "
        f"the model pydoc, whose digest is {image.model_digest[:12]}"
    )
    with pytest.raises(CheckpointError, match=f"^{message}; compile it again: 'trilith model "):
        check_model(image, other, "a.image")


def test_the_digest_is_that_of_everything_in_the_model(random_model):
    def digest(change=lambda model: model, **sizes):
        return CoreModel(model=change(BitNetModel.load(random_model(**sizes)))).digest

    def gain(model):
        gains = {**model.layers[1].gains}
        gains["mlp.ffn_sub_norm"] = gains["mlp.ffn_sub_norm"] * np.float32(1.001)
        layers = (model.layers[0], replace(model.layers[1], gains=gains), *model.layers[2:])
        return replace(model, layers=layers)

    def scale(model):
        linears = {**model.layers[1].linears}
        one = linears["mlp.up_proj"]
        weight = replace(one.weight, scale=one.weight.scale * np.float32(1.001))
        linears["mlp.up_proj"] = replace(one, weight=weight)
        layers = (model.layers[0], replace(model.layers[1], linears=linears), *model.layers[2:])
        return replace(model, layers=layers)

    def row(model):
        embedding = model.embedding.copy()
        embedding[3] *= 2
        return replace(model, embedding=embedding)

    found = [
        digest(), digest(gain), digest(scale), digest(row), digest(seed=1),
        digest(rms_norm_eps=1e-6), digest(rope_theta=5e5), digest(max_position_embeddings=64),
    ]  # fmt: skip
    assert len(set(found)) == len(found)
    assert digest() == found[0]


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"version": "1"}, "the image's version must be '4', not '1'"),
        ({"version": None}, "the image's version must be '4', not None"),
        (
            {"format": "trilith token core image+"},
            "the image's format must be 'trilith token core image', not 'trilith token core "
            "image+'",
        ),
        (
            {"more": "x"},
            "the metadata must be format, version, config, model, model_digest, program_words, "
            "content_digest, and not 'more'",
        ),
        ({"model": None}, "the text 'model' of the metadata is missing"),
        ({"model": "a\x1b[31m"}, "the name of the model must be printable, not 'a\\x1b[31m'"),
        ({"program_words": "0"}, "program_words must match [1-9][0-9]{0,9}, not '0'"),
        ({"program_words": "\u0663"}, "program_words must match [1-9][0-9]{0,9}, not '\u0663'"),
        ({"model_digest": "ab"}, "model_digest must match [0-9a-f]{64}, not 'ab'"),
        (
            {"program_words": "37"},
            "the program must end with END",
        ),
        ({"program_words": "39"}, "instruction 38: no instruction must follow END"),
        (
            {"program_words": "999999999"},
            "the program must be whole instructions of 64 bytes within the memory of 556416 bytes, "
            "not 63999999936 bytes",
        ),
        (
            {"content_digest": "0" * 64},
            "the content must have the digest that the file says; it is damaged",
        ),
    ],
)
def test_metadata_that_is_wrong(changed, metadata, message):
    refused(changed(metadata), message)


def config_text(**changes):
    """The configuration in the metadata, with changes; ``engine`` changes some of its fields."""
    from dataclasses import asdict

    values = asdict(CONFIG)
    engine = values["engine"] | changes.pop("engine", {})
    return json.dumps({k: v for k, v in (values | {"engine": engine} | changes).items() if v})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "config must be JSON: .*"),
        ("[" * 2_000, "config must be JSON: .*"),
        ("[]", r"config must be an object with engine, vector_lanes, .*, not \[\]"),
        (config_text(hidden_max=None), "config must be an object with engine, .*"),
        (config_text(engine={"more": 1}), "config's engine must be an object with lanes, .*"),
        (
            config_text(vector_lanes=3),
            "vector_lanes must be 1, 2, 4, 8 or 16, not 3",
        ),
        (config_text(heads_max=True), "heads_max must be an integer, not True"),
        (config_text(engine={"code": 7}), "code must be a string, not 7"),
    ],
)
def test_configurations_that_are_wrong(changed, text, message):
    file = changed({"config": text})
    again = re.escape(AGAIN.format(file))
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(file))}: {message}{again}$"):
        read_image(file)


def test_another_configuration_is_refused_with_each_field_that_differs(changed):
    engine = replace(CONFIG.engine, k_max=512)
    other = replace(CONFIG, engine=engine, context_max=512, vector_lanes=2)
    refused(
        changed(),
        "must be for the core's configuration, and has engine.k_max 256, not 512; vector_lanes 4, "
        "not 2; context_max 256, not 512",
        other,
    )


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"memory": None}, "the tensor 'memory' is missing"),
        ({"weights": None}, "the tensor 'weights' is missing"),
        ({"more": np.zeros(1)}, "the tensors must be memory and weights, not 3 tensors"),
        (
            {"memory": np.zeros(64, np.int8)},
            "the tensor memory must be U8 of one dimension, not I8 of shape (64,)",
        ),
        (
            {"memory": np.zeros((8, 8), np.uint8)},
            "the tensor memory must be U8 of one dimension, not U8 of shape (8, 8)",
        ),
        (
            {"weights": np.zeros((3744, 32), np.uint8)},
            "the tensor weights must be U8 of beats of 64 bytes, not U8 of shape (3744, 32)",
        ),
        (
            {"weights": np.zeros(3744 * 64, np.uint8)},
            "the tensor weights must be U8 of beats of 64 bytes, not U8 of shape (239616,)",
        ),
    ],
)
def test_tensors_that_are_wrong(changed, tensors, message):
    refused(changed(**tensors), message)


def test_weights_of_another_number(image, changed):
    message = "the weights must have 3744 beats for the program, not 3743"
    refused(changed(weights=image.weights[1:]), message)


INSIDE = "must be an address of {} bytes within the memory of 556416 bytes, not {}"


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        (7, {"op": 9}, "instruction 7: the operation must be from 0 to 7, not 9"),
        (37, {"op": Op.SETUP}, "the program must end with END"),
        (2, {"flags": {"load": True}}, "instruction 2, EMBED: the flag load must not be set"),
        (3, {"flags": {"mode0": True, "mode2": True}},
         "instruction 3, PRODUCT: the mode must be from 0 to 4, not 5"),
        (0, {"vocabulary": 1025},
         "instruction 0, SETUP: vocabulary must be from 2 to 1024, not 1025"),
        (0, {"context": 0}, "instruction 0, SETUP: context must be from 1 to 256, not 0"),
        (0, {"cache_bytes": 0},
         "instruction 1, ANGLES: cache_bytes of SETUP must be 64, not 0"),
        (0, {"angle_bytes": 0},
         "instruction 1, ANGLES: angle_bytes of SETUP must be a multiple of 64, at least 256, "
         "not 0"),
        (1, {"words": 0}, "instruction 1, ANGLES: words must be from 1 to 16, not 0"),
        (1, {"address": 8}, "instruction 1, ANGLES: address must be a multiple of 64, not 8"),
        (1, {"address": 2**31}, "instruction 1, ANGLES: address " + INSIDE.format(65536, 2**31)),
        (2, {"row_words": 0}, "instruction 2, EMBED: row_words must be 4, not 0"),
        (2, {"scales": 2**20}, "instruction 2, EMBED: scales " + INSIDE.format(4096, 2**20)),
        (2, {"destination": 150},
         "instruction 2, EMBED: destination must be the place of 64 words within the 192 of the "
         "vector memory, not 150"),
        (2, {"count": 0}, "instruction 2, EMBED: count must be from 1 to 256, not 0"),
        (3, {"n": 0}, "instruction 3, PRODUCT: n must be from 1 to 256, not 0"),
        (3, {"beats": 0}, "instruction 3, PRODUCT: beats must be 208, not 0"),
        (4, {"first_beat": 0}, "instruction 4, PRODUCT: first_beat must be 208, not 0"),
        (3, {"groups": 0}, "instruction 3, PRODUCT: groups must be from 1 to 4, not 0"),
        (3, {"groups": 2, "group_chunks": 2},
         "instruction 3, PRODUCT: the flag table must be set for several groups of scales"),
        (3, {"scale_words": 1}, "instruction 3, PRODUCT: scale_words must be 0, not 1"),
        (3, {"source": 1},
         "instruction 3, PRODUCT: the vector must be the last one with peaks: place, elements and "
         "gain must be (0, 256, True), not (1, 256, True)"),
        (4, {"k": 128}, "instruction 4, PRODUCT: k must be 256, not 128"),
        (3, {"flags": {"load": False}}, "instruction 3, PRODUCT: k must be 0, not 256"),
        (3, {"flags": {"track": True}},
         "instruction 9, ATTEND: peaks must be wanted only when those before are used"),
        (6, {"heads": 0}, "instruction 6, HEADS: heads must be from 1 to 4, not 0"),
        (6, {"half": 0}, "instruction 6, HEADS: half must be 8, not 0"),
        (6, {"flags": {"cache": True}},
         "instruction 6, HEADS: heads must be from 1 to 2, not 4"),
        (7, {"step": 2**31 + 64},
         "instruction 7, HEADS: rows " + INSIDE.format(2**31 + 64 + 16384, 349568)),
        (7, {"scales": 4},
         "instruction 7, HEADS: scales modulo the bytes of a word must be 0, not 4"),
        (8, {"scales": 64},
         "instruction 8, HEADS: scales modulo the bytes of a word must be 4, not 0"),
        (8, {"flags": {"turn": True}},
         "instruction 8, HEADS: the flags must be cache, not cache turn"),
        (9, {"groups": 1}, "instruction 9, ATTEND: the heads must be [2, 1, 1], not [4, 2, 2]"),
        (9, {"chunks": 0}, "instruction 9, ATTEND: chunks must be 1, not 0"),
        (9, {"scale_step": 1024},
         "instruction 9, ATTEND: scale_step must be a multiple of 64, at least 2048, not 1024"),
        (9, {"row_step": 0},
         "instruction 9, ATTEND: row_step must be a multiple of 64, at least 16384, not 0"),
        (9, {"address": 2**30},
         "instruction 9, ATTEND: address " + INSIDE.format(69632, 2**30)),
        (36, {"row_words": 0}, "instruction 36, HEAD: row_words must be 4096, not 0"),
        (36, {"vocabulary": 1}, "instruction 36, HEAD: vocabulary must be 1024, not 1"),
        (36, {"scale_step": 0},
         "instruction 36, HEAD: scale_step must be a multiple of 64, at least 4096, not 0"),
        (36, {"address": 2**25},
         "instruction 36, HEAD: address " + INSIDE.format(266240, 2**25)),
        (36, {"first_beat": 3744}, "instruction 36, HEAD: first_beat must be 0, not 3744"),
        (36, {"beats": 1}, "instruction 36, HEAD: beats must be 0, not 1"),
    ],
)  # fmt: skip
def test_programs_that_are_not_well_formed(image, changed, place, change, message):
    refused(changed(**with_instruction(image, place, **change)), message)


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def on_weights(random_model, request):
    """A model, and its image for a core whose rows of the head are weight beats."""
    sizes = {**SIZES, "vocab_size": 157}
    model = BitNetModel.load(random_model(tie_word_embeddings=request.param, **sizes))
    core = CoreModel(model=model)
    return core, compile_image(core, PAIRS)


def test_rows_of_the_head_are_the_last_weight_beats(on_weights, tmp_path):
    model, image = on_weights
    write_image(image, tmp_path / "a.image")
    image = read_image(tmp_path / "a.image", PAIRS)
    *_, down, head, _ = image.program
    first, beats = head.fields["first_beat"], head.fields["beats"]
    assert first == down.fields["first_beat"] + down.fields["beats"]
    # 157 rows of 64 bytes are 502.4 beats of 20 bytes.
    assert (beats, first + beats) == (503, len(image.weights))
    found = image.weights[first:].reshape(-1)
    assert (found[: 157 * 64].view(np.int8).reshape(157, 64) == model.head.q).all()
    assert not found[157 * 64 :].any()
    # The rows are not in memory too; those of the embedding are, behind their scales.
    assert (head.fields["scale_step"], head.fields["row_words"]) == (0, 0)
    embedding, scales = image.program[2].fields, head.fields["address"]
    rows = image.memory[embedding["rows"] :][: 157 * 64].view(np.int8).reshape(157, 64)
    assert (rows == model.embedding.q).all()
    assert (scales == embedding["scales"]) == model.config.tied
    assert head.fields["address"] + 4 * 157 <= len(image.memory)
    assert (image.memory.tobytes().count(model.head.q[5].tobytes())) == model.config.tied


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first_beat": 0}, "first_beat must be {first}, not 0"),
        ({"beats": 502}, "beats must be 503, not 502"),
        ({"beats": 504}, "beats must be 503, not 504"),
        ({"row_words": 1256}, "row_words must be 0, not 1256"),
        ({"scale_step": 640}, "scale_step must be 0, not 640"),
        ({"scale_words": 1}, "scale_words must be 79, not 1"),
        ({"chunks": 2}, "chunks must be 1, not 2"),
        ({"address": 2**25}, "address must be an address of 632 bytes within the memory of "
         "{memory} bytes, not 33554432"),
    ],
)  # fmt: skip
def test_heads_in_weight_beats_that_are_not_well_formed(on_weights, change, message):
    image = on_weights[1]
    place = len(image.program) - 2
    wrong = replace(image, **with_instruction(image, place, **change))
    first = image.program[place].fields["first_beat"]
    text = f"instruction {place}, HEAD: {message}".format(first=first, memory=len(image.memory))
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        check_program(PAIRS, wrong.program, len(wrong.memory), len(wrong.weights))


def test_weights_without_a_beat_of_the_head(on_weights):
    image = on_weights[1]
    beats = len(image.weights)
    message = f"the weights must have {beats} beats for the program, not {beats - 1}"
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_program(PAIRS, image.program, len(image.memory), beats - 1)


def test_programs_of_another_number_of_instructions(image, changed):
    words = image.memory[: len(image.program) * INSTRUCTION_BYTES].reshape(-1, INSTRUCTION_BYTES)
    memory = image.memory.copy()
    short = np.concatenate([words[:-3], words[-2:]])
    memory[: short.size] = short.ravel()
    # The last END stays behind the shorter program.
    refused(
        changed({"program_words": "37"}, memory=memory),
        "instruction 25 must be HEAD, not PRODUCT",
    )
    assert decode(memory[36 * 64 : 37 * 64].tobytes()).op is Op.END


@pytest.mark.parametrize("cut", [1, 64, 500_000, 795_000])
def test_files_that_are_cut(changed, cut):
    file = changed()
    file.write_bytes(file.read_bytes()[:-cut])
    with pytest.raises(
        CheckpointError,
        match=f"^{re.escape(str(file))}: must be a safetensors file: its size is not that of its "
        "header; get a whole copy$",
    ):
        read_image(file)


def test_files_that_are_longer(changed):
    file = changed()
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(
        CheckpointError,
        match=f"^{re.escape(str(file))}: must be a safetensors file: its size is not that of its "
        "header; get a whole copy$",
    ):
        read_image(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ", not an empty file; download or write it again"),
        (b"GGUF", ", not a GGUF file; name a file of the other kind"),
        (
            (PYDOC / "model.safetensors").read_bytes(),
            ", not a safetensors file; name a file of the other kind",
        ),
        (
            b"text",
            ": it does not say so; write one: 'trilith model compile MODEL --out IMAGE'; it begins "
            "with 'text'",
        ),
    ],
)
def test_other_files(tmp_path, content, message):
    file = tmp_path / "a"
    file.write_bytes(content)
    with pytest.raises(CheckpointError) as found:
        read_image(file)
    assert str(found.value) == f"{file}: must be an image of the token core{message}"
