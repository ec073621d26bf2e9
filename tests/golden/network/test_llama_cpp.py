"""GGUF files in llama.cpp as they are written, against golden and transformers."""

import json
import os
import shutil
import subprocess
import sys
from itertools import islice

import pytest
from safetensors.numpy import load_file, save_file

from trilith.golden import BitNetModel, load_checkpoint
from trilith.golden.checkpoint.write_gguf import write_gguf
from trilith.golden.data import PYDOC

reason = "needs xllamacpp: pip install 'trilith[parity]'"
pytest.importorskip("xllamacpp", reason=reason)

PROMPT, TOKENS = [5, 6, 7, 8, 20], 24
#: llama.cpp quantizes activations in blocks of 256 for TQ1_0 and TQ2_0. With 256 inputs these are
#: whole vectors, as in golden. The vocabulary is the tokenizer's.
SIZES = {"hidden_size": 256, "intermediate_size": 256, "vocab_size": 1024}
#: Families of llama.cpp that have ternary matrices: changes to a random model.
MODELS = {
    "llama": ("llama", {}),
    "qwen3": ("qwen3", {"head_dim": 64}),
    "bitnet, silu": ("bitnet", {"hidden_act": "silu"}),
}
#: Loads each file in the server of llama.cpp, and prints a JSON list of tokens, or the reason of a
#: refusal. A process of its own, because llama.cpp ends its process where it finds a fault. A
#: server that has served nothing may not end by itself.
_PROGRAM = """
import json, os, sys, urllib.request
import xllamacpp
file, prompt, count = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel, params.port = file, 256, 1, 0
params.warmup = params.fit_params = False
params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
params.cpuparams.n_threads, params.n_gpu_layers, params.verbosity = 1, 0, 1
server = xllamacpp.Server(params)
if not count:
    print("loaded", flush=True)
    os._exit(0)
query = dict(prompt=prompt, n_predict=count, temperature=0, top_k=1, return_tokens=True)
query |= dict(cache_prompt=False, ignore_eos=True)
request = urllib.request.Request(server.listening_address + "/completion",
    data=json.dumps(query).encode(), headers={"Content-Type": "application/json"})
print(json.dumps(json.load(urllib.request.urlopen(request, timeout=60))["tokens"]), flush=True)
"""


def llama_cpp(file, count=TOKENS):
    """Run a file in llama.cpp; return standard output, and its messages."""
    arguments = [str(file), json.dumps(PROMPT), str(count)]
    environment = {**os.environ, "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    return done.stdout.strip(), done.stderr


@pytest.fixture(scope="module")
def models(random_model):
    """Folders with a tokenizer, and the tokens by which golden continues the prompt."""
    made = {}
    for name, (family, changes) in MODELS.items():
        folder = random_model(family, **SIZES, **changes)
        shutil.copy(PYDOC / "tokenizer.json", folder)
        tensors = load_file(folder / "model.safetensors")
        if "lm_head.weight" not in tensors:
            # An embedding that is the head too would repeat the last token.
            tensors["model.embed_tokens.weight"] /= 64
            save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        made[name] = folder, list(islice(BitNetModel.load(folder).generate(PROMPT), TOKENS))
        assert len(set(made[name][1])) > 4
    return made


@pytest.mark.parametrize("kind", ["tq1_0", "tq2_0"])
@pytest.mark.parametrize("name", MODELS)
def test_tokens_equal_those_of_golden(tmp_path, models, name, kind):
    folder, tokens = models[name]
    assert write_gguf(load_checkpoint(folder), tmp_path / "a.gguf", kind) == ""
    out, messages = llama_cpp(tmp_path / "a.gguf")
    assert out == json.dumps(tokens), messages[-500:]


def test_the_first_tokens_of_q2_0(tmp_path, models):
    """llama.cpp quantizes activations by 32 for Q2_0, and by 256 for the others: tokens drift."""
    folder, tokens = models["llama"]
    write_gguf(load_checkpoint(folder), tmp_path / "a.gguf", "q2_0_64")
    out, messages = llama_cpp(tmp_path / "a.gguf")
    assert json.loads(out)[:3] == tokens[:3], messages[-500:]


def test_tokens_equal_those_of_transformers(models):
    """The same models as folders, so that the three programs agree."""
    torch = pytest.importorskip("torch", reason=reason)
    pytest.importorskip("accelerate", reason=reason)
    transformers = pytest.importorskip("transformers", reason=reason)
    for folder, tokens in models.values():
        loaded = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        with torch.no_grad():
            logits = loaded(torch.tensor([[*PROMPT, *tokens[:-1]]])).logits[0]
        assert logits[len(PROMPT) - 1 :].argmax(-1).tolist() == tokens


def test_that_a_file_without_a_tokenizer_is_loaded(tmp_path, models, random_model):
    folder = random_model("llama", **SIZES)
    write_gguf(load_checkpoint(folder), tmp_path / "a.gguf", "tq1_0")
    assert llama_cpp(tmp_path / "a.gguf", 0)[0] == "loaded"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("tq2_0", "unknown model architecture: 'bitnet-b1.58'"),
        ("i2_s", "of type 36 (TYPE_IQ4_NL_4_4 REMOVED"),
    ],
)
def test_what_llama_cpp_refuses(tmp_path, kind, message):
    """The page of formats says so: squared ReLU, and I2_S, run in other programs."""
    write_gguf(load_checkpoint(PYDOC), tmp_path / "a.gguf", kind)
    out, messages = llama_cpp(tmp_path / "a.gguf")
    assert out == ""
    assert message in messages
