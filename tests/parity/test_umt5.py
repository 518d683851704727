"""UMT5 against transformers, its tokenizer against `tokenizers` and SentencePiece: the same ids, the same embeddings."""

import json
import lzma
import os
import random
import shutil
import sys
from pathlib import Path

import pytest
import sentencepiece
import tokenizers
import torch
import transformers
from conftest import REPOSITORY
from encoders import differing, encode, relative, tokens_of
from safetensors.torch import load_file, save_file
from texts import corpus, texts

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tiny_wan_parts import tiny_umt5  # noqa: E402

COUNT = 10_000
RELEASED = Path(os.environ.get("EAV_RELEASED", REPOSITORY.parent / "shared" / "released"))
TOKENS = ["</s>", "<pad>", "<unk>", "<s>", "<extra_id_0>", "<extra_id_3>", "<extra_id_299>", "<extra_id_300>", "<pad", "</s",
          "[eod]", "<0x41>", "<0xC3><0xA9>", "<one>", "été", "円", "the red", "▁", " ▁", "▁▁ "]  # fmt: skip
WORDS = ["circle", "the red", "moving", "background", "A", "Video,", "it's", "1234", "don't"]
LINES = [*texts(seed=4, count=COUNT - 40, tokens=TOKENS + WORDS), "", " ", "  ", "▁", "a ", " a", "a  b", "\n", "a\nb ", "▁a▁",
         *((word * 2_000)[:20_000] for word in ("a", "the red circle ", "円", "\u0301", "<one>")),
         *(" ".join(random.Random(i).choices(WORDS, k=30)) for i in range(25))]  # fmt: skip


# ---- tokenizer.json -------------------------------------------------------------------------------------------------


def unpacked(folder):
    """The released file."""
    packed = RELEASED / "umt5-xxl-tokenizer" / "tokenizer.json.xz"
    if not packed.exists():
        pytest.skip(f"{packed} is not there")
    (folder / "tokenizer.json").write_bytes(lzma.decompress(packed.read_bytes()))


def saved(folder):
    """What transformers saves of such a tokenizer that was trained here, whose vocabulary is small."""
    train(folder)
    transformers.T5Tokenizer.from_pretrained(folder).save_pretrained(folder)
    (folder / "spiece.model").unlink()


@pytest.mark.parametrize("prepare", [unpacked, saved])
def test_ids_are_those_of_tokenizers(run, tmp_path, prepare):
    prepare(tmp_path)
    reference = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    theirs = [encoding.ids for encoding in reference.encode_batch(LINES)]
    assert differing(LINES, tokens_of(run, tmp_path, LINES, "umt5"), theirs) == []


# ---- spiece.model ---------------------------------------------------------------------------------------------------


def train(folder, **changes):
    """Writes a SentencePiece model with UMT5's first ids, trained on all scripts."""
    settings = {"byte_fallback": True, "user_defined_symbols": ["[eod]", "<one>", "été", "the red", "円"]} | changes
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=corpus(random.Random(0), 4000), model_prefix=str(folder / "spiece"), vocab_size=2600,
        character_coverage=0.98, normalization_rule_name="identity", pad_id=0, eos_id=1, bos_id=2, unk_id=3,
        hard_vocab_limit=False, num_threads=2, minloglevel=2, **settings)  # fmt: skip
    (folder / "spiece.vocab").unlink()


@pytest.fixture(scope="module")
def spiece(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    train(folder)
    return folder


def assert_sentencepieces(run, folder):
    reference = sentencepiece.SentencePieceProcessor(str(folder / "spiece.model"))
    theirs = [reference.encode(line) + [reference.eos_id()] for line in LINES]
    assert differing(LINES, tokens_of(run, folder, LINES, "umt5"), theirs) == []


def test_ids_are_sentencepieces(run, spiece):
    assert_sentencepieces(run, spiece)


@pytest.mark.parametrize("changes", [
    {"byte_fallback": False},
    {"user_defined_symbols": ["▁", " ", "a b", "<one>"], "control_symbols": ["<mask>"]},
    {"add_dummy_prefix": False, "remove_extra_whitespaces": False},
    {"treat_whitespace_as_suffix": True},
], ids=str)  # fmt: skip
def test_ids_of_other_models_are_sentencepieces(run, tmp_path, changes):
    train(tmp_path, **changes)
    assert_sentencepieces(run, tmp_path)


def test_a_table_of_characters_is_refused(run, tmp_path):
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=corpus(random.Random(0), 500), model_prefix=str(tmp_path / "spiece"), vocab_size=2600,
        pad_id=0, eos_id=1, bos_id=2, unk_id=3, hard_vocab_limit=False, minloglevel=2)  # fmt: skip
    error = run("eav_probe", "tokens", tmp_path, "--kind", "umt5", input=b'["a"]', fails=True).decode()
    assert "spiece.model" in error and "table of characters" in error and error.count("\n") == 1


def test_a_folder_without_a_tokenizer_is_an_error(run, tmp_path):
    error = run("eav_probe", "tokens", tmp_path, "--kind", "umt5", input=b'["a"]', fails=True).decode()
    assert "tokenizer.json" in error and "spiece.model" in error and error.count("\n") == 1


# ---- the encoder ----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(spiece, tmp_path):
    shutil.copytree(spiece, tmp_path / "tokenizer")
    return tmp_path


PROMPT = "a red circle moving left on a gray background, the quick fox 円 été"


def theirs(folder, model, length, dtype=torch.float32):
    """As diffusers' WanPipeline calls it: the prompt's embeddings, and zeros behind them."""
    tokenizer = sentencepiece.SentencePieceProcessor(str(folder / "tokenizer" / "spiece.model"))
    ids = tokenizer.encode(PROMPT)[: length - 1] + [1]
    used = len(ids)
    ids = torch.tensor([ids + [0] * (length - used)])
    with torch.inference_mode():
        states = model.to(dtype)(ids, attention_mask=(torch.arange(length) < used)[None].long()).last_hidden_state
    return ids, torch.cat([states[:, :used], torch.zeros_like(states[:, used:])], 1)


@pytest.mark.parametrize("options, changes", [
    ([], {}),
    ([], {"feed_forward_proj": "relu"}),
    ([], {"feed_forward_proj": "gated-silu", "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128}),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("length", [512, 12])
def test_embeddings(run, folder, options, changes, length):
    model = tiny_umt5(2700, **changes)
    model.save_pretrained(folder / "text_encoder")
    ids, ours, _ = encode(run, "umt5", folder, PROMPT, "--length", length, *options)
    reference_ids, expected = theirs(folder, model, length)
    print("relative error", relative(ours, expected))
    assert torch.equal(ids, reference_ids) and ours.shape == expected.shape and relative(ours, expected) < 1e-5


def test_in_bfloat16(run, folder):
    """Rounding differs, since some steps are fused here: neither is farther from float32 than the other."""
    model = tiny_umt5(2700).to(torch.bfloat16)
    model.save_pretrained(folder / "text_encoder")
    _, ours, _ = encode(run, "umt5", folder, PROMPT, "--length", 64, "--dtype", "bfloat16")
    rounded = transformers.UMT5EncoderModel.from_pretrained(folder / "text_encoder", dtype=torch.bfloat16)
    _, expected = theirs(folder, rounded, 64, torch.bfloat16)
    _, exact = theirs(folder, model.float(), 64)
    print(relative(ours, exact), relative(expected, exact))
    assert ours.dtype == expected.dtype and relative(ours, exact) < 1.1 * relative(expected, exact)


def test_every_block_needs_its_position_biases(run, folder):
    tiny_umt5(2700).save_pretrained(folder / "text_encoder")
    path = folder / "text_encoder" / "model.safetensors"
    key = "encoder.block.2.layer.0.SelfAttention.relative_attention_bias.weight"
    save_file({k: t for k, t in load_file(path).items() if k != key}, path, metadata={"format": "pt"})
    error = run("eav_probe", "umt5", folder, "--out", folder / "out.safetensors", input=b"a", fails=True).decode()
    assert key in error and error.count("\n") == 1


def test_the_tied_copy_of_the_embedding_is_not_needed(run, folder):
    model = tiny_umt5(2700)
    model.save_pretrained(folder / "text_encoder")
    path = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    table = tensors.get("shared.weight", tensors.get("encoder.embed_tokens.weight"))
    rest = {k: t for k, t in tensors.items() if k not in ("shared.weight", "encoder.embed_tokens.weight")}
    _, expected = theirs(folder, model, 16)
    for names in (["shared.weight"], ["encoder.embed_tokens.weight"], ["shared.weight", "encoder.embed_tokens.weight"]):
        save_file(rest | {name: table.clone() for name in names}, path, metadata={"format": "pt"})
        assert relative(encode(run, "umt5", folder, PROMPT, "--length", 16)[1], expected) < 1e-5
