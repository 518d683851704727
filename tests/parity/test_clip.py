"""CLIP's text side against transformers: the same token ids, the same pooled output."""

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
from tiny_text import tiny_clip, tiny_clip_tokenizer  # noqa: E402

TOKENS = ["<|startoftext|>", "<|endoftext|>", "<|STARTOFTEXT|>", "<|EndOfText|>", "<|endoftext", "</w>", "<mask>",
          "<one>", "Été", "!"]  # fmt: skip
WORDS = ["circle", "The RED", "moving", "Video,", "it's", "IT'S", "don't", "1234", "'ll", "İ", "ΑΣ", "ﬁn", "Å", "각"]
PROMPT = "A red circle moving left on a gray background, it's the quick fox"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_clip_tokenizer(folder, corpus(random.Random(0), 4000), merges=2000)
    return folder


def bare(folder):
    (folder / "tokenizer_config.json").unlink()
    (folder / "special_tokens_map.json").unlink()


def older(folder):
    """An older generation: no added_tokens_decoder, another padding, tokens with a place of their own."""
    (folder / "tokenizer_config.json").write_text(json.dumps({"additional_special_tokens": ["<one>"]}))
    mask = {"content": "<mask>", "lstrip": True, "rstrip": True, "normalized": False, "single_word": True}
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": "!", "mask_token": mask}))
    (folder / "added_tokens.json").write_text(json.dumps({"Été": 9000, "<one>": 9001}))


def incomplete(folder):
    """Letters that the vocabulary lacks, in the middle of a word or at its end, become the unknown token."""
    path = folder / "vocab.json"
    vocabulary = json.loads(path.read_text(encoding="utf-8"))
    used = set((folder / "merges.txt").read_text(encoding="utf-8").split())
    letters = [token for token in vocabulary if len(token.removesuffix("</w>")) == 1 and token not in used]
    for token in letters[::3]:
        del vocabulary[token]
    path.write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")


def tokenizer_json(folder):
    """What transformers itself saves."""
    transformers.CLIPTokenizer.from_pretrained(folder).save_pretrained(folder)
    for name in ("vocab.json", "merges.txt", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)


def json_alone(folder):
    tokenizer_json(folder)
    (folder / "tokenizer_config.json").unlink()


def older_json(folder):
    """As it was saved before transformers 5, merges in one string, and with a length to cut and fill texts to."""
    tokenizer_json(folder)
    path = folder / "tokenizer.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    stored["model"]["merges"] = [" ".join(merge) for merge in stored["model"]["merges"]]
    stored["truncation"] = {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}
    stored["padding"] = {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                         "pad_type_id": 0, "pad_token": "<|endoftext|>"}  # fmt: skip
    path.write_text(json.dumps(stored, ensure_ascii=False), encoding="utf-8")


@pytest.mark.parametrize("prepare, count", [
    (None, 10000), (tokenizer_json, 10000), (bare, 2000), (older, 2000), (incomplete, 2000), (json_alone, 2000),
    (older_json, 2000),
])  # fmt: skip
def test_clip_ids(run, files, tmp_path, prepare, count):
    folder = tmp_path / "tokenizer"
    shutil.copytree(files, folder)
    if prepare:
        prepare(folder)
    lines = list(texts(seed=5, count=count, tokens=TOKENS + WORDS))
    theirs = transformers.CLIPTokenizer.from_pretrained(folder)(lines, truncation=False, padding=False).input_ids
    assert differing(lines, tokens_of(run, folder, lines, "clip"), theirs) == []


def test_characters_of_later_unicode_versions(run, files):
    """Which of them are letters, digits or have a lower case, each library's tables decide: a report, no failure."""
    lines = later_texts()
    theirs = transformers.CLIPTokenizer.from_pretrained(files)(lines).input_ids
    found = differing(lines, tokens_of(run, files, lines, "clip"), theirs)
    print(f"{len(found)} of {len(lines)} texts differ:", *(f"{line!r}" for line, _, _ in found))


@pytest.fixture
def folder(files, tmp_path):
    shutil.copytree(files, tmp_path / "tokenizer")
    return tmp_path


def save_encoder(folder, dtype=torch.float32, shard_size="1GB", **config):
    size = len(transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer"))
    tiny_clip(size, **config).to(dtype).save_pretrained(folder / "text_encoder", max_shard_size=shard_size)


def reference(folder, prompt, length=77, dtype=torch.float32):
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer")
    model = transformers.CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=dtype).eval()
    ids = tokenizer([prompt], padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
    whole = tokenizer([prompt], padding="longest", return_tensors="pt").input_ids
    cut = tokenizer.batch_decode(whole[:, length - 1 : -1])[0] if whole.shape[1] > length else ""
    with torch.no_grad():
        return ids, model(ids, output_hidden_states=False).pooler_output, cut


@pytest.mark.parametrize("options, config", [
    ([], {}),
    ([], {"hidden_act": "gelu", "layer_norm_eps": 1e-3}),
    ([], {"eos_token_id": None}),
    ([], {"eos_token_id": 70}),
    ([], {"shard_size": "20KB"}),
    (["--storage", "float16"], {"dtype": torch.float16}),
    (["--storage", "bfloat16"], {"dtype": torch.bfloat16, "eos_token_id": None}),
])  # fmt: skip
@pytest.mark.parametrize("prompt", [PROMPT, "", "a <|endoftext|> b"])
def test_clip_pooled_output(run, folder, options, config, prompt):
    if config.get("eos_token_id", 2) is None:  # the tokenizer's
        tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer")
        config = {**config, "eos_token_id": tokenizer.eos_token_id}
    save_encoder(folder, **config)
    ids, ours, _ = encode(run, "clip", folder, prompt, *options)
    reference_ids, theirs, _ = reference(folder, prompt)
    assert torch.equal(ids, reference_ids)
    assert ours.shape == theirs.shape == (1, 32)
    print("relative error", relative(ours, theirs))
    assert relative(ours, theirs) < 1e-5


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_clip_in_16_bit(run, folder, dtype):
    """Rounding differs, since some steps are fused here: neither is farther from float32 than the other."""
    save_encoder(folder, dtype=getattr(torch, dtype))
    _, exact, _ = reference(folder, PROMPT)
    _, ours, _ = encode(run, "clip", folder, PROMPT, "--dtype", dtype)
    _, theirs, _ = reference(folder, PROMPT, dtype=getattr(torch, dtype))
    assert ours.dtype == theirs.dtype
    assert relative(ours, exact) < 1.5 * relative(theirs, exact)


def test_padding_and_cut_are_those_of_transformers(run, folder):
    older(folder / "tokenizer")
    save_encoder(folder)
    for length in (3, 5, 12, 20, 77):
        ids, ours, cut = encode(run, "clip", folder, PROMPT, "--length", length)
        reference_ids, theirs, reference_cut = reference(folder, PROMPT, length)
        assert torch.equal(ids, reference_ids)
        assert cut == reference_cut
        assert relative(ours, theirs) < 1e-5


def test_released_keys_open(run, folder):
    """Released files have another prefix, and positions, which transformers 5 no longer saves."""
    save_encoder(folder)
    _, saved, _ = encode(run, "clip", folder, PROMPT)
    path = folder / "text_encoder" / "model.safetensors"
    weights = load_file(path)
    bare = {key.removeprefix("text_model."): tensor for key, tensor in weights.items()}
    for prefix in ("text_model.", ""):
        spelled = {prefix + key: tensor for key, tensor in bare.items()}
        spelled[prefix + "embeddings.position_ids"] = torch.arange(77).unsqueeze(0)
        save_file(spelled, path, metadata={"format": "pt"})
        _, ours, _ = encode(run, "clip", folder, PROMPT)
        assert torch.equal(ours, saved)


@pytest.mark.parametrize("config, message", [
    ({"hidden_act": "relu"}, b"hidden_act"),
    ({"max_position_embeddings": 40}, b"longer than the 40"),
    ({"vocab_size": 500}, b"special token"),
])  # fmt: skip
def test_clip_errors(run, folder, config, message):
    config = dict(config)
    tiny_clip(config.pop("vocab_size", 3000), **config).save_pretrained(folder / "text_encoder")
    out = folder / "out.safetensors"
    error = run("eav_probe", "clip", folder, "--out", out, input=PROMPT.encode(), fails=True)
    assert message in error and not out.exists()
