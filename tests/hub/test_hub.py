"""Checkpoints of BERT, GPT-2 and Mamba-2: loaded, equal to transformers' outputs, and saved key for key."""

import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

import seqloom
from seqloom.core.types import FRESH
from seqloom.hub import tokenizer

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

BERT = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
GPT2 = {
    "vocab_size": 99,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 40,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
MAMBA2 = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_heads": 4, "head_dim": 16, "state_size": 8}
CASES = {
    "bert": ("BertModel", "BertConfig", BERT),
    "bert masked": ("BertForMaskedLM", "BertConfig", BERT),
    "bert pretraining": ("BertForPreTraining", "BertConfig", BERT),
    "bert relu": ("BertModel", "BertConfig", {**BERT, "hidden_act": "relu", "type_vocab_size": 3}),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", GPT2),
    "gpt2 without head": ("GPT2Model", "GPT2Config", {**GPT2, "n_inner": 40}),
    "gpt2 untied": ("GPT2LMHeadModel", "GPT2Config", {**GPT2, "tie_word_embeddings": False}),
    "mamba2": ("Mamba2ForCausalLM", "Mamba2Config", {**MAMBA2, "n_groups": 2}),
    "mamba2 with biases": ("Mamba2ForCausalLM", "Mamba2Config", {**MAMBA2, "n_groups": 1, "use_bias": True}),
    "mamba2 tied": ("Mamba2ForCausalLM", "Mamba2Config", {**MAMBA2, "n_groups": 4, "tie_word_embeddings": True}),
}


def theirs(case: str, folder):
    cls, config, settings = CASES[case]
    torch.manual_seed(0)
    model = getattr(transformers, cls)(getattr(transformers, config)(**settings)).eval()
    with torch.no_grad():  # biases and norms begin at 0 and 1, where mistakes hide
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model


def answer(model, tokens):
    output = model(input_ids=tokens)
    return next(output[key] for key in ("logits", "prediction_logits", "last_hidden_state") if key in output)


TOKENS = torch.randint(99, (3, 17), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("case", CASES)
def test_outputs_equal_those_of_transformers_before_and_after_saving(case, tmp_path) -> None:
    reference = theirs(case, tmp_path / "theirs")
    model = seqloom.load(tmp_path / "theirs")
    with torch.no_grad():
        expected = answer(reference, TOKENS)
        torch.testing.assert_close(model(TOKENS)[0], expected, rtol=0, atol=1e-5)
    model.save_pretrained(tmp_path / "ours")
    before, after = (load_file(tmp_path / part / "model.safetensors") for part in ("theirs", "ours"))
    assert set(before) == set(after)
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]), name
    again, report = type(reference).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    with torch.no_grad():
        torch.testing.assert_close(answer(again.eval(), TOKENS), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", ["gpt2", "mamba2"])
def test_loaded_models_decode_as_transformers_generates(case, tmp_path) -> None:
    reference = theirs(case, tmp_path)
    model = seqloom.load(str(tmp_path))
    prompt = TOKENS[:1, :5]
    mask = torch.ones_like(prompt)
    settings = {"max_new_tokens": 20, "do_sample": False, "pad_token_id": 98, "eos_token_id": None}
    assert torch.equal(
        model.generate(prompt, max_new_tokens=20), reference.generate(prompt, attention_mask=mask, **settings)
    )


def test_beams_find_what_transformers_beams_find(tmp_path) -> None:
    reference = theirs("gpt2", tmp_path)
    model = seqloom.load(tmp_path)
    prompt = TOKENS[:2, :5]
    mask = torch.ones_like(prompt)
    for penalty in (0.6, 1.0, 2.0):
        settings = {"num_beams": 4, "length_penalty": penalty, "do_sample": False, "early_stopping": "never"}
        expected = reference.generate(
            prompt, attention_mask=mask, max_new_tokens=8, pad_token_id=7, eos_token_id=7, **settings
        )
        given = model.generate(prompt, max_new_tokens=8, beams=4, length_penalty=penalty, end=7)
        assert torch.equal(given, expected)


def test_padding_is_left_out_as_an_attention_mask_leaves_it_out(tmp_path) -> None:
    reference = theirs("bert", tmp_path)
    model = seqloom.load(tmp_path)
    mask = (torch.arange(17) < torch.tensor([[17], [9], [1]])).long()
    with torch.no_grad():
        expected = reference(input_ids=TOKENS, attention_mask=mask).last_hidden_state
        given = model(TOKENS, segment=mask)[0]
        torch.testing.assert_close(given[mask != 0], expected[mask != 0], rtol=0, atol=1e-5)
        torch.testing.assert_close(
            model.head.pooled(given), reference(input_ids=TOKENS, attention_mask=mask).pooler_output, rtol=0, atol=1e-5
        )


@pytest.mark.parametrize(
    ("name", "cls", "settings"),
    [
        ("gpt", "GPT2LMHeadModel", {}),
        ("bert", "BertForMaskedLM", {"layers": 3}),
        ("mamba2", "Mamba2ForCausalLM", {"heads": 4}),
    ],
)
def test_our_own_models_are_saved_in_their_form(name, cls, settings, tmp_path) -> None:
    model = seqloom.build(name, vocabulary=99, width=32, **settings).eval()
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [cls]
    reference, report = getattr(transformers, cls).from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    with torch.no_grad():
        torch.testing.assert_close(answer(reference.eval(), TOKENS), model(TOKENS)[0], rtol=0, atol=1e-5)
    again = seqloom.load(tmp_path)
    assert again.spec == model.spec


@pytest.mark.parametrize("name", ["griffin", "seq2seq", "transformer", "xlstm", "hierarchical"])
def test_every_other_model_is_saved_in_our_own_form(name, tmp_path) -> None:
    model = seqloom.build(name, vocabulary=11, width=16)
    again = seqloom.load(model.save_pretrained(tmp_path))
    assert again.spec == model.spec
    for key, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor)


def test_the_tokenizer_comes_along(tmp_path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    theirs("bert", tmp_path / "a")
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "late": 1, "card": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(tmp_path / "a" / "tokenizer.json"))
    model = seqloom.load(tmp_path / "a")
    assert tokenizer(model).encode("card late").ids == [2, 1]
    model.save_pretrained(tmp_path / "b")
    assert (tmp_path / "b" / "tokenizer.json").read_bytes() == (tmp_path / "a" / "tokenizer.json").read_bytes()


def test_trained_weights_are_what_is_saved(tmp_path) -> None:
    theirs("gpt2", tmp_path / "a")
    model = seqloom.load(tmp_path / "a")
    with torch.no_grad():
        model.frontend.embedding.weight.add_(1.0)
    model.save_pretrained(tmp_path / "b")
    again = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "b").eval()
    with torch.no_grad():
        torch.testing.assert_close(again(TOKENS).logits, model(TOKENS)[0], rtol=0, atol=1e-4)


def test_halves_are_widened_and_parts_are_put_together(tmp_path) -> None:
    reference = theirs("gpt2", tmp_path)
    tensors = {name: tensor.bfloat16() for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    (tmp_path / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"a.safetensors": names[:5], "b.safetensors": names[5:]}
    for file, chosen in parts.items():
        save_file({name: tensors[name] for name in chosen}, tmp_path / file)
    index = {"weight_map": {name: file for file, chosen in parts.items() for name in chosen}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    model = seqloom.load(tmp_path)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    with torch.no_grad():
        torch.testing.assert_close(model(TOKENS)[0], reference(TOKENS).logits, rtol=0, atol=0.5)
    index["weight_map"][names[0]] = "../elsewhere.safetensors"
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"names files outside its folder: \.\./elsewhere"):
        seqloom.load(tmp_path)


def test_missing_and_extra_keys_are_listed(tmp_path) -> None:
    theirs("gpt2", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["transformer.strange"] = tensors.pop("transformer.ln_f.bias")
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"missing: ln_f\.bias; not known: strange"):
        seqloom.load(tmp_path)
    tensors["transformer.ln_f.bias"] = torch.zeros(31)
    del tensors["transformer.strange"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"another shape than config\.json says: ln_f\.bias \(31,\)"):
        seqloom.load(tmp_path)


def test_what_is_not_ours_to_load_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="there is no folder './absent'"):
        seqloom.load("./absent")
    theirs("gpt2", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for change, message in (
        ({"model_type": "gpt_neo"}, "is of a 'gpt_neo'"),
        ({"activation_function": "tanh"}, "activation_function = 'tanh'"),
        ({"scale_attn_by_inverse_layer_idx": True}, "only False can be loaded"),
        ({"n_head": 5}, "multiple of 5, got 32"),
        ({"n_layer": "two"}, "must be a whole number above 0"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(ValueError, match=message):
            seqloom.load(tmp_path)
    del config["n_head"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="lacks a setting.*n_head"):
        seqloom.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        seqloom.load(tmp_path)


def test_a_pickle_is_refused(tmp_path) -> None:
    theirs("gpt2", tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin, a pickle, which can run code"):
        seqloom.load(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(ValueError, match=r"has no model\.safetensors"):
        seqloom.load(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x08",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 10) + b"{}",
        struct.pack("<Q", 58) + b'{"a":{"dtype":"F32","shape":[99999999999],"data_offsets":[0,4]}}'[:58] + b"\0" * 4,
        struct.pack("<Q", 64) + b'{"a":{"dtype":"F32","shape":[9999999999],"data_offsets":[0,4]}} ' + b"\0" * 4,
    ],
)
def test_damaged_and_hostile_files_are_refused(content, tmp_path) -> None:
    theirs("gpt2", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors'"):
        seqloom.load(tmp_path)


def test_a_truncated_file_is_refused(tmp_path) -> None:
    theirs("gpt2", tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        seqloom.load(tmp_path)


def test_loaded_models_prefill_and_go_on(tmp_path) -> None:
    theirs("mamba2", tmp_path)
    model = seqloom.load(tmp_path)
    with torch.no_grad():
        whole, _ = model(TOKENS)
        first, state = model(TOKENS[:, :9], FRESH)
        rest, _ = model(TOKENS[:, 9:], state)
    torch.testing.assert_close(torch.cat([first, rest], dim=1), whole, rtol=0, atol=1e-5)
