"""LLaMA as HunyuanVideo uses it, against transformers: the same token ids, the same hidden states."""

import json
import random
import shutil
import sys
from pathlib import Path

import pytest
import torch
import transformers
from encoders import differing, encode, relative, tokens_of
from safetensors.torch import load_file, save_file
from texts import corpus, later_texts, texts

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tiny_text import LLAMA_SPECIAL, tiny_llama, tiny_llama_tokenizer  # noqa: E402

WORDS = ["circle", "The RED", "moving", "Video,", "it's", "IT'S", "don't", "12345", "'LL", "<|eot", "\r\n\n", " \n x"]
PROMPT = (
    "<|start_header_id|>system<|end_header_id|>\n\nDescribe the video by detailing the following aspects: 1. The main"
    " content.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\na red circle moving left on a gray"
    " background<|eot_id|>"
)
LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 64}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    lines = [*corpus(random.Random(0), 4000), *later_texts() * 40]  # merges of later characters show where words end
    tiny_llama_tokenizer(folder, lines, merges=2000)
    return folder


def edit(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | fields))


@pytest.mark.parametrize("ignore_merges", [False, True])
def test_llama_ids(run, tmp_path, ignore_merges):
    tokenizer = tiny_llama_tokenizer(tmp_path, corpus(random.Random(0), 4000), merges=2500, ignore_merges=ignore_merges)
    padding = {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
               "pad_token": "<pad>"}  # fmt: skip
    truncation = {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}
    edit(tmp_path / "tokenizer.json", padding=padding, truncation=truncation)
    lines = list(texts(seed=3, count=10000, tokens=LLAMA_SPECIAL + WORDS))
    assert differing(lines, tokens_of(run, tmp_path, lines, "llama"), tokenizer(lines).input_ids) == []


def test_saved_by_transformers(run, files, tmp_path):
    transformers.PreTrainedTokenizerFast.from_pretrained(files).save_pretrained(tmp_path)
    lines = list(texts(seed=4, count=100, tokens=LLAMA_SPECIAL + WORDS))
    assert tokens_of(run, tmp_path, lines, "llama") == tokens_of(run, files, lines, "llama")


def test_characters_of_later_unicode_versions(run, files):
    """Which of them are letters or digits, each library's tables decide: a report, no failure."""
    lines = later_texts()
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(files)(lines).input_ids
    found = differing(lines, tokens_of(run, files, lines, "llama"), theirs)
    print(f"{len(found)} of {len(lines)} texts differ:", *(f"{line!r}" for line, _, _ in found))


@pytest.mark.parametrize("settings, opens", [
    ({"padding_side": "right", "tokenizer_class": "LlamaTokenizerFast"}, True),
    ({"tokenizer_class": "PreTrainedTokenizerFast"}, True),
    ({}, True),
    ({"padding_side": "left"}, False),
    ({"tokenizer_class": "LlamaTokenizerFast"}, True),
])  # fmt: skip
def test_padding_on_the_left_is_an_error(run, files, tmp_path, settings, opens):
    shutil.copy(files / "tokenizer.json", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<pad>"} | settings))
    if opens:
        assert len(tokens_of(run, tmp_path, ["a"], "llama")) == 1
    else:
        assert b"padding_side" in run("eav_probe", "tokens", tmp_path, "--kind", "llama", input=b"[]", fails=True)


@pytest.fixture
def folder(files, tmp_path):
    shutil.copytree(files, tmp_path / "tokenizer")
    return tmp_path


def save_encoder(folder, dtype=torch.float32, shard_size="1GB", **config):
    size = len(transformers.PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer"))
    tiny_llama(size, **config).to(dtype).save_pretrained(folder / "text_encoder", max_shard_size=shard_size)


def reference(folder, prompt, skipped=2, dtype=torch.float32):
    """Hidden states of the prompt's own tokens; it is filled up and masked, as diffusers' pipeline does."""
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
    model = transformers.LlamaModel.from_pretrained(folder / "text_encoder", dtype=dtype).eval()
    inputs = tokenizer([prompt], padding="max_length", max_length=350, return_tensors="pt")
    with torch.no_grad():
        states = model(**inputs, output_hidden_states=True).hidden_states[-(skipped + 1)]
    length = inputs.attention_mask.sum()
    return inputs.input_ids[:, :length], states[:, :length]


@pytest.mark.parametrize("options, config", [
    ([], {}),
    ([], {"num_key_value_heads": 1}),
    ([], {"num_key_value_heads": 4}),
    ([], {"head_dim": 12, "rms_norm_eps": 1e-3}),
    ([], {"attention_bias": True, "mlp_bias": True}),
    ([], {"rope_parameters": LLAMA3_ROPE}),
    ([], {"shard_size": "20KB"}),
    (["--storage", "float16"], {"dtype": torch.float16}),
    (["--storage", "bfloat16"], {"dtype": torch.bfloat16, "causal_lm": True}),
])  # fmt: skip
@pytest.mark.parametrize("skipped", [2, 0])
def test_llama_hidden_states(run, folder, options, config, skipped):
    save_encoder(folder, **config)
    ids, ours, _ = encode(run, "llama", folder, PROMPT, "--skipped-layers", skipped, *options)
    reference_ids, theirs = reference(folder, PROMPT, skipped)
    assert torch.equal(ids, reference_ids)
    print("relative error", relative(ours, theirs))
    assert relative(ours, theirs) < 1e-5


@pytest.mark.parametrize("skipped", [1, 3, 4])
def test_any_number_of_layers_is_skipped(run, folder, skipped):
    save_encoder(folder)
    _, ours, _ = encode(run, "llama", folder, PROMPT, "--skipped-layers", skipped)
    assert relative(ours, reference(folder, PROMPT, skipped)[1]) < 1e-5


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_llama_in_16_bit(run, folder, dtype):
    """Rounding differs, since some steps are fused here: neither is farther from float32 than the other."""
    save_encoder(folder, dtype=getattr(torch, dtype))
    _, exact = reference(folder, PROMPT)
    _, ours, _ = encode(run, "llama", folder, PROMPT, "--dtype", dtype)
    _, theirs = reference(folder, PROMPT, dtype=getattr(torch, dtype))
    assert ours.dtype == theirs.dtype
    assert relative(ours, exact) < 1.5 * relative(theirs, exact)


@pytest.mark.parametrize("scaling", [None, {key: value for key, value in LLAMA3_ROPE.items() if key != "rope_theta"}])
@pytest.mark.parametrize("type_field", ["rope_type", "type"])
def test_older_configurations_open(run, folder, scaling, type_field):
    """Before transformers 5, rope_theta stood beside rope_scaling."""
    save_encoder(folder, rope_parameters=LLAMA3_ROPE if scaling else {"rope_type": "default", "rope_theta": 10000.0})
    _, saved, _ = encode(run, "llama", folder, PROMPT)
    if scaling:
        scaling = {type_field if key == "rope_type" else key: value for key, value in scaling.items()}
    edit(folder / "text_encoder" / "config.json", rope_parameters=None, rope_scaling=scaling, rope_theta=10000.0)
    _, ours, _ = encode(run, "llama", folder, PROMPT)
    assert torch.equal(ours, saved)
    assert relative(ours, reference(folder, PROMPT)[1]) < 1e-5


def test_both_spellings_of_keys_open(run, folder):
    """A LlamaForCausalLM holds a LlamaModel under "model."; older files hold the rotary embedding's frequencies."""
    save_encoder(folder)
    _, saved, _ = encode(run, "llama", folder, PROMPT)
    path = folder / "text_encoder" / "model.safetensors"
    weights = load_file(path)
    table = weights["embed_tokens.weight"].clone()
    weights = {f"model.{key}": tensor for key, tensor in weights.items()} | {"lm_head.weight": table}
    weights |= {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(4) for i in range(4)}
    save_file(weights, path, metadata={"format": "pt"})
    _, ours, _ = encode(run, "llama", folder, PROMPT)
    assert torch.equal(ours, saved)


@pytest.mark.parametrize("config, options, message", [
    ({"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}}, [], b'"rope_type" is "linear"'),
    ({"rope_parameters": LLAMA3_ROPE | {"low_freq_factor": 5.0}}, [], b"high_freq_factor"),
    ({"hidden_act": "gelu"}, [], b"hidden_act"),
    ({"vocab_size": 500}, [], b"special token"),
    ({}, ["--skipped-layers", "5"], b"5 of 4 layers"),
])  # fmt: skip
def test_llama_errors(run, folder, config, options, message):
    config = dict(config)
    tiny_llama(config.pop("vocab_size", 3000), **config).save_pretrained(folder / "text_encoder")
    out = folder / "out.safetensors"
    error = run("eav_probe", "llama", folder, "--out", out, *options, input=PROMPT.encode(), fails=True)
    assert message in error and not out.exists()


def test_skipped_layers_are_not_read(run, folder):
    save_encoder(folder)
    _, whole, _ = encode(run, "llama", folder, PROMPT)
    path = folder / "text_encoder" / "model.safetensors"
    read = ("embed_tokens.", "layers.0.", "layers.1.")
    save_file({key: tensor for key, tensor in load_file(path).items() if key.startswith(read)}, path)
    assert torch.equal(encode(run, "llama", folder, PROMPT)[1], whole)
