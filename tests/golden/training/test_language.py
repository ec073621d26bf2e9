"""Networks of the training script in both forms of trits, untrained, in the golden model."""

import json

import numpy as np
import pytest

from trilith.golden import CODES, BitNetModel, absmean_quantize, load_checkpoint, ternary_matmul
from trilith.golden.checkpoint.tokenizer import load_tokenizer
from trilith.golden.data import PYDOC
from trilith.golden.network.text import bits_per_byte
from trilith.golden.quantize import absmax_quantize, sherry_quantize

reason = "needs torch and tokenizers: pip install 'trilith[train]'"
torch = pytest.importorskip("torch", reason=reason)
tokenizers = pytest.importorskip("tokenizers", reason=reason)
layers = pytest.importorskip("trilith.golden.training.layers", reason=reason)
language = pytest.importorskip("trilith.golden.training.language", reason=reason)

QUANTIZERS = {"ternary": absmean_quantize, "sherry": sherry_quantize}


@pytest.fixture(params=QUANTIZERS)
def exported(request, tmp_path):
    """Form, network and the folder that the script writes."""
    torch.manual_seed(0)
    network = language._LanguageModel(form=request.param)
    tokenizer = tokenizers.Tokenizer.from_file(str(PYDOC / "tokenizer.json"))
    language._export(tmp_path / "model", network, request.param, tokenizer)
    return request.param, network, tmp_path / "model"


@pytest.mark.parametrize("form", QUANTIZERS)
def test_products_in_training_are_those_of_golden(form):
    torch.manual_seed(1)
    layer, x = layers.BitLinear(48, 20, form=form), torch.randn(7, 48)
    trits, scale = QUANTIZERS[form](layer.weight.detach().numpy())
    q, act_scale = absmax_quantize(x.numpy())
    integers = layer(x).detach().numpy() * act_scale / scale
    np.testing.assert_allclose(integers, ternary_matmul(trits, q), atol=1e-2)


def test_the_quality_is_that_of_golden(exported):
    _, network, folder = exported
    texts = json.loads((PYDOC / "held_out.json").read_text())[:3]
    tokenizer = load_tokenizer(folder)
    tokens = [[0, *tokenizer.encode(text).ids, 0] for text in texts]
    size = sum(len(text.encode()) for text in texts)
    figure = bits_per_byte(BitNetModel.load(folder), tokenizer, texts)
    assert figure == pytest.approx(language._bits_per_byte(network, tokens, size), rel=2e-3)


def test_the_export_has_the_trits_of_the_form(exported):
    form, network, folder = exported
    weights, code = network.state_dict(), CODES["sherry"]
    tensors = load_checkpoint(folder).ternary
    assert len(tensors) == 21
    for name, tensor in tensors.items():
        master = weights[f"{name.removeprefix('model.')}.weight"].numpy()
        trits, scale = QUANTIZERS[form](master)
        assert np.array_equal(tensor.trits, trits)
        assert tensor.scale == scale
        if form == "sherry":
            packed = code.pack(trits)
            assert packed.size * 8 == trits.size * 1.25
            assert np.array_equal(code.unpack(packed, trits.shape[1]), trits)
