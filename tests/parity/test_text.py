"""T5 against transformers: the same token ids, the same embeddings."""

import json
import random
import re
import shutil
import unicodedata

import pytest
import sentencepiece
import torch
import transformers
from encoders import differing, encode, relative, tokens_of
from texts import corpus, texts

COUNT = 10_000
TOKENS = ["</s>", "<pad>", "<unk>", "<extra_id_0>", "<extra_id_3>", "<extra_id_99>", "<extra_id_100>", "<s>", "<pad", "</s"]
WORDS = ["circle", "the red", "moving", "background", "A", "Video,", "it's", "1234", "don't"]


def train(folder, **changes):
    """Writes a SentencePiece model with T5's first ids, trained on all scripts."""
    settings = {"vocab_size": 2200, "character_coverage": 0.99, "normalization_rule_name": "nmt_nfkc"} | changes
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=corpus(random.Random(0), 4000), model_prefix=str(folder / "spiece"),
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False, num_threads=2, minloglevel=2,
        **settings)  # fmt: skip
    (folder / "spiece.vocab").unlink()


@pytest.fixture(scope="module")
def spiece(tmp_path_factory):
    """A folder that holds such a model and nothing else."""
    folder = tmp_path_factory.mktemp("tokenizer")
    train(folder)
    return folder


def released(folder):
    """The files that released T5 checkpoints have beside spiece.model."""
    size = sentencepiece.SentencePieceProcessor(str(folder / "spiece.model")).get_piece_size()
    sentinels = [f"<extra_id_{i}>" for i in range(100)]
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    added = {0: "<pad>", 1: "</s>", 2: "<unk>"} | {size + 99 - i: token for i, token in enumerate(sentinels)}
    special = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "additional_special_tokens": sentinels}
    config = special | {"added_tokens_decoder": {i: {"content": t, **flags} for i, t in added.items()}, "extra_ids": 100}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    (folder / "added_tokens.json").write_text(json.dumps({t: i for i, t in added.items() if i > 2}))


def older(folder):
    """An older generation: no added_tokens_decoder, a token that takes white space along, more than one list."""
    (folder / "tokenizer_config.json").write_text(json.dumps({"extra_ids": 10, "additional_special_tokens": ["<one>"]}))
    mask = {"content": "<mask>", "lstrip": True, "rstrip": True, "normalized": False, "single_word": True}
    (folder / "special_tokens_map.json").write_text(json.dumps({"eos_token": "</s>", "mask_token": mask}))
    (folder / "added_tokens.json").write_text(json.dumps({"<two>": 5001, "Été ﬁn": 5000, "<one>": 5002}))


def tokenizer_json(folder):
    """What transformers itself saves: tokenizer.json, and no spiece.model."""
    transformers.T5Tokenizer.from_pretrained(folder).save_pretrained(folder)
    (folder / "spiece.model").unlink()


def json_alone(folder):
    tokenizer_json(folder)
    (folder / "tokenizer_config.json").unlink()


def older_saved(folder):
    older(folder)
    tokenizer_json(folder)
    (folder / "special_tokens_map.json").unlink()
    (folder / "added_tokens.json").unlink()


def stored_padding(folder):
    """A tokenizer.json that says how to cut and fill texts: that is the pipeline's choice, not its."""
    tokenizer_json(folder)
    path = folder / "tokenizer.json"
    stored = json.loads(path.read_text())
    stored["truncation"] = {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}
    stored["padding"] = {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                         "pad_type_id": 0, "pad_token": "<pad>"}  # fmt: skip
    path.write_text(json.dumps(stored))


@pytest.mark.parametrize("prepare", [None, released, older, tokenizer_json, json_alone, older_saved, stored_padding])
def test_t5_ids(run, spiece, tmp_path, prepare):
    folder = tmp_path / "tokenizer"
    shutil.copytree(spiece, folder)
    if prepare:
        prepare(folder)
    reference = transformers.T5Tokenizer.from_pretrained(folder)
    tokens = TOKENS + WORDS + ["<mask>", "<one>", "<two>", "Été ﬁn", "été fin"]
    lines = list(texts(seed=1, count=COUNT, tokens=tokens))
    theirs = reference(lines, truncation=False, padding=False).input_ids
    assert differing(lines, tokens_of(run, folder, lines, "t5"), theirs) == []


@pytest.mark.parametrize("changes", [
    {"byte_fallback": True},
    {"user_defined_symbols": ["<one>", "été", "the red", "▁", "円"], "control_symbols": ["<mask>", "<s>"]},
    {"normalization_rule_name": "nfkc_cf"},
    {"normalization_rule_name": "identity", "character_coverage": 1.0, "vocab_size": 3000},
    {"add_dummy_prefix": False, "remove_extra_whitespaces": False},
], ids=str)  # fmt: skip
def test_t5_ids_of_other_models(run, tmp_path, changes):
    train(tmp_path, **changes)
    reference = transformers.T5Tokenizer.from_pretrained(tmp_path)
    lines = list(texts(seed=2, count=COUNT, tokens=TOKENS + WORDS + ["<0x41>", "<0xC3><0xA9>", "<one>", "été", "円"]))
    lines += [(word * 20_000)[:20_000] for word in ("a", "the red circle ", "円", "\u0301", "<one>")]
    theirs = reference(lines, truncation=False, padding=False).input_ids
    assert differing(lines, tokens_of(run, tmp_path, lines, "t5"), theirs) == []


def test_t5_ids_are_sentencepieces(run, spiece):
    """Ids equal those of transformers, which differ from SentencePiece's own where marks and invisible characters stand
    and where conjoining Jamo meet: such lines are left out here."""

    def is_plain(line):
        categories = {unicodedata.category(c) for c in line}
        return not any(c[0] == "M" or c in ("Cc", "Cf") for c in categories) and not re.search("[\u1100-\u11ff\uffa0-\uffdc]", line)

    lines = [line for line in texts(seed=3, count=8 * COUNT, tokens=WORDS) if is_plain(line)]
    assert len(lines) >= COUNT
    reference = sentencepiece.SentencePieceProcessor(str(spiece / "spiece.model"))
    theirs = [reference.encode(line) + [reference.eos_id()] for line in lines]
    assert differing(lines, tokens_of(run, spiece, lines, "t5"), theirs) == []


def save_encoder(folder, dtype=torch.float32, shard_size="1GB", **changes):
    torch.manual_seed(0)
    sizes = {"d_model": 48, "d_kv": 10, "d_ff": 80, "num_heads": 4, "num_layers": 3, "vocab_size": 2500,
             "feed_forward_proj": "gated-gelu", "relative_attention_num_buckets": 12,
             "relative_attention_max_distance": 40}  # fmt: skip
    config = transformers.T5Config(**(sizes | changes))
    model = transformers.T5EncoderModel(config)
    for parameter in model.parameters():  # norms and position biases that differ from their first values
        parameter.data += 0.2 * torch.randn_like(parameter)
    model.to(dtype).save_pretrained(folder, max_shard_size=shard_size)


def embeddings(run, folder, prompt, *options, length=64):
    return encode(run, "t5", folder, prompt, "--length", length, *options)


def reference_embeddings(folder, prompt, length=64, masked=False, dtype=torch.float32):
    tokenizer = transformers.T5Tokenizer.from_pretrained(folder / "tokenizer")
    model = transformers.T5EncoderModel.from_pretrained(folder / "text_encoder", dtype=dtype)
    inputs = tokenizer([prompt], padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    whole = tokenizer([prompt], padding="longest", return_tensors="pt").input_ids
    cut = tokenizer.batch_decode(whole[:, length - 1 : -1])[0] if whole.shape[1] > length else ""
    with torch.no_grad():
        mask = inputs.attention_mask if masked else None
        return inputs.input_ids, model(inputs.input_ids, attention_mask=mask)[0], cut


@pytest.fixture
def folder(spiece, tmp_path):
    shutil.copytree(spiece, tmp_path / "tokenizer")
    return tmp_path


@pytest.mark.parametrize("options, changes", [
    ([], {}),
    ([], {"feed_forward_proj": "relu"}),
    ([], {"feed_forward_proj": "gated-silu", "relative_attention_num_buckets": 32}),
    ([], {"feed_forward_proj": "gelu", "relative_attention_max_distance": 128}),
    ([], {"shard_size": "40KB"}),
    (["--storage", "float16"], {"dtype": torch.float16}),
    (["--storage", "bfloat16"], {"dtype": torch.bfloat16}),
    (["--storage", "bfloat16"], {"dtype": torch.bfloat16, "shard_size": "40KB"}),
])  # fmt: skip
@pytest.mark.parametrize("masked", [False, True])
def test_t5_embeddings(run, folder, options, changes, masked):
    save_encoder(folder / "text_encoder", **changes)
    prompt = "a red circle moving left on a gray background, the quick fox"
    ids, ours, cut = embeddings(run, folder, prompt, *options, *(["--mask"] if masked else []))
    reference_ids, theirs, _ = reference_embeddings(folder, prompt, masked=masked)
    assert torch.equal(ids, reference_ids) and cut == ""
    assert relative(ours, theirs) < 1e-5


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_t5_in_16_bit(run, folder, dtype):
    """Rounding differs, since some steps are fused here: neither is farther from float32 than the other."""
    save_encoder(folder / "text_encoder", dtype=getattr(torch, dtype))
    prompt = "a red circle moving left"
    _, exact, _ = reference_embeddings(folder, prompt)
    _, ours, _ = embeddings(run, folder, prompt, "--dtype", dtype)
    _, theirs, _ = reference_embeddings(folder, prompt, dtype=getattr(torch, dtype))
    assert ours.dtype == theirs.dtype
    assert relative(ours, exact) < 1.5 * relative(theirs, exact)


def test_prompt_is_cut_as_transformers_cuts_it(run, folder):
    save_encoder(folder / "text_encoder")
    prompt = "a red circle moving left </s> on a gray <extra_id_3> background"
    for length in (2, 5, 12, 20, 40):
        ids, ours, cut = embeddings(run, folder, prompt, length=length)
        reference_ids, theirs, reference_cut = reference_embeddings(folder, prompt, length=length)
        assert torch.equal(ids, reference_ids)
        assert cut == reference_cut
        assert relative(ours, theirs) < 1e-5


@pytest.mark.parametrize("kept", ["shared.weight", "encoder.embed_tokens.weight", "both"])
def test_either_name_of_the_embedding_opens(run, folder, kept):
    from safetensors.torch import load_file, save_file

    save_encoder(folder / "text_encoder")
    path = folder / "text_encoder" / "model.safetensors"
    weights = load_file(path)
    table = next(weights.pop(k) for k in ("shared.weight", "encoder.embed_tokens.weight") if k in weights)
    names = ["shared.weight", "encoder.embed_tokens.weight"] if kept == "both" else [kept]
    weights["decoder.final_layer_norm.weight"] = torch.ones(48)  # a whole T5 opens too
    save_file(weights | {name: table.clone() for name in names}, path, metadata={"format": "pt"})
    _, ours, _ = embeddings(run, folder, "a red circle")
    _, theirs, _ = reference_embeddings(folder, "a red circle")
    assert relative(ours, theirs) < 1e-5


def test_a_special_token_outside_the_encoder_is_an_error(run, folder):
    save_encoder(folder / "text_encoder", vocab_size=1000)
    error = run("eav_probe", "t5", folder, "--out", folder / "out.safetensors", input=b"a <extra_id_0>", fails=True)
    assert b"special token" in error and not (folder / "out.safetensors").exists()


def test_a_prompt_that_is_not_utf8_is_an_error(run, folder):
    save_encoder(folder / "text_encoder")
    error = run("eav_probe", "t5", folder, "--out", folder / "out.safetensors", input=b"a \xff b", fails=True)
    assert b"not UTF-8" in error
