"""`eav convert`'s files: the names that other programs read, against tables of their own, and the videos made of them."""

import json
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
import safetensors
import safetensors.torch
import sentencepiece
import sentencepiece.sentencepiece_model_pb2
import test_ltx_single_file as ltx
import torch
from test_single_files import (
    CLIP, HUNYUAN, HUNYUAN_VAE, LLAMA, LLAMA_CPP, LLAMA_CPP_T5, TOWER, UMT5, generate, part, pictures, same, save_wan,
    with_spiece, write_gguf, write_hunyuan,
)  # fmt: skip

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import original_files  # noqa: E402
from original_files import prefixed, renamed  # noqa: E402
from tiny_hunyuan_video import save_tiny_hunyuan_video, save_tiny_hunyuan_video_image  # noqa: E402

__all__ = ["generate"]


@pytest.fixture
def convert(run, tmp_path):
    def convert(folder, out, *more, kind="bfloat16"):
        lines = run("eav", "convert", folder, "--type", kind, "--out", tmp_path / out, *more).decode()
        files = [Path(line.rsplit("  ", 1)[0]) for line in lines.splitlines()]
        assert sorted(files) == sorted(tmp_path.glob(f"{Path(out).stem}[-.]*")), lines
        return {file.stem.removeprefix(Path(out).stem).removeprefix("-"): file for file in files}

    return convert


def holds(file, expected):
    """Those keys and no others, with the numbers in bfloat16 or, of small tensors, in float32."""
    found = safetensors.torch.load_file(file)
    assert found.keys() == expected.keys(), sorted(found.keys() ^ expected.keys())[:5]
    assert {t.dtype for t in found.values()} <= {torch.bfloat16, torch.float32, torch.uint8}
    return [k for k, t in expected.items() if not torch.equal(found[k], t.to(found[k].dtype))] == []


@pytest.mark.parametrize("release", ["i2v", "ti2v", "t2v-a14b"])
def test_wan(convert, generate, tmp_path, release):
    folder, shown = save_wan(tmp_path / "folder", release), pictures(release, tmp_path)
    spiece = with_spiece(folder)
    text = {k: t for k, t in part(folder, "text_encoder").items() if "embed_tokens" not in k}
    spiece_bytes = torch.frombuffer(bytearray(spiece), dtype=torch.uint8)
    expected = {
        "transformer": original_files.wan_transformer(part(folder, "transformer")),
        "vae": original_files.wan_vae(part(folder, "vae")),
        "text_encoder": text | {"spiece_model": spiece_bytes},
    }
    second, vision = (folder / "transformer_2").exists(), (folder / "image_encoder").exists()
    if second:
        expected["transformer_2"] = original_files.wan_transformer(part(folder, "transformer_2"))
    if vision:
        expected["image_encoder"] = prefixed("vision_model.", part(folder, "image_encoder"))

    def opened(files):
        options = {"model": "transformer", "vae": "vae", "text-encoder": "text_encoder", "model-2": "transformer_2",
                   "image-encoder": "image_encoder"}  # fmt: skip
        return generate({f"--{o}": files[name] for o, name in options.items() if name in files}, *shown)

    files = convert(folder, "parts.safetensors")
    assert files.keys() == expected.keys() and all(holds(files[name], expected[name]) for name in files)
    theirs = opened(files)

    packed = convert(folder, "packed.gguf")
    assert {name for name, file in packed.items() if file.suffix == ".gguf"} == {n for n in files if n[:2] in ("te", "tr")}
    reader = gguf.GGUFReader(packed["text_encoder"])
    assert {t.name for t in reader.tensors} == {renamed(k, LLAMA_CPP_T5) for k in text}
    model = sentencepiece.SentencePieceProcessor(model_proto=spiece)
    assert reader.fields["tokenizer.ggml.tokens"].contents() == [model.id_to_piece(i) for i in range(len(model))]
    assert reader.fields["tokenizer.ggml.scores"].contents() == [model.get_score(i) for i in range(len(model))]
    assert reader.fields["tokenizer.ggml.eos_token_id"].contents() == model.eos_id()
    assert same(opened(packed), theirs)

    for suffix in ("safetensors", "gguf") if not second else ():
        whole = convert(folder, f"all_{suffix}.{suffix}", "--one-file")
        assert list(whole) == [""]
        keys = {
            *prefixed("model.diffusion_model.", expected["transformer"]), *prefixed("vae.", expected["vae"]),
            *prefixed(UMT5, text), "text_encoders.spiece_model", *prefixed("clip_vision.", expected.get("image_encoder", {})),
        }  # fmt: skip
        if suffix == "safetensors":
            assert safetensors.torch.load_file(whole[""]).keys() == keys
        else:
            reader = gguf.GGUFReader(whole[""])
            assert {t.name for t in reader.tensors} == keys
            assert reader.fields["general.architecture"].contents() == "wan"
        assert same(generate({"--model": whole[""]}, *shown), theirs)


def test_two_experts_do_not_fit_into_one_file(run, tmp_path):
    save_wan(tmp_path / "folder", "t2v-a14b")
    message = run("eav", "convert", tmp_path / "folder", "--type", "bfloat16", "--out", tmp_path / "x.safetensors",
                  "--one-file", fails=True).decode()  # fmt: skip
    assert message.count("\n") == 1 and "--one-file" in message and not list(tmp_path.glob("x*"))


def test_hunyuan_video(convert, generate, tmp_path):
    folder = tmp_path / "folder"
    save_tiny_hunyuan_video(folder, transformer=HUNYUAN, vae=HUNYUAN_VAE, llama=LLAMA, clip=CLIP)
    written = write_hunyuan(folder, tmp_path / "written", comfy=True)
    files = convert(folder, "parts.safetensors")
    names = {"transformer": "--model", "vae": "--vae", "text_encoder": "--text-encoder", "text_encoder_2": "--text-encoder-2"}
    for name, option in names.items():
        there = {k: t for k, t in safetensors.torch.load_file(written[option]).items() if not k.startswith("lm_head")}
        assert holds(files[name], there)

    def opened(files):
        return generate({o: files[name] for name, o in names.items()} | {"--tokenizer": folder}, steps=1)

    theirs, packed = opened(files), convert(folder, "packed.gguf")
    llama = safetensors.torch.load_file(files["text_encoder"])
    found = {t.name: t for t in gguf.GGUFReader(packed["text_encoder"]).tensors}
    assert found.keys() == {renamed(k.removeprefix("model."), LLAMA_CPP) for k in llama}
    for name in ("q", "k"):  # as llama.cpp's conversion permutes them
        rows = llama[f"model.layers.1.self_attn.{name}_proj.weight"]
        rows = rows.reshape(rows.shape[0] // 128, 2, 64, -1).swapaxes(1, 2).reshape(rows.shape)
        stored = torch.from_numpy(found[f"blk.1.attn_{name}.weight"].data.copy()).view(torch.bfloat16)
        assert torch.equal(stored, rows)
    assert same(opened(packed), theirs)
    whole = convert(folder, "all.safetensors", "--one-file")[""]
    assert same(generate({"--model": whole, "--tokenizer": folder}, steps=1), theirs)


def test_hunyuan_video_from_an_image(convert, generate, tmp_path):
    folder, shown = tmp_path / "folder", pictures("i2v", tmp_path)
    save_tiny_hunyuan_video_image(folder, "token_replace", transformer=HUNYUAN, vae=HUNYUAN_VAE, clip=CLIP,
                                  llava={"vision": TOWER, "text": LLAMA})  # fmt: skip
    written = write_hunyuan(folder, tmp_path / "written", comfy=True)
    files = convert(folder, "i2v.safetensors")
    for name, option in (("text_encoder", "--text-encoder"), ("image_encoder", "--image-encoder")):
        there = {k: t for k, t in safetensors.torch.load_file(written[option]).items() if not k.startswith("lm_head")}
        assert holds(files[name], there)
    options = {"--model": "transformer", "--vae": "vae", "--text-encoder": "text_encoder",
               "--text-encoder-2": "text_encoder_2", "--image-encoder": "image_encoder"}  # fmt: skip
    theirs = generate({o: files[n] for o, n in options.items()} | {"--tokenizer": folder}, *shown, steps=1)
    whole = convert(folder, "all_i2v.safetensors", "--one-file")[""]
    assert same(generate({"--model": whole, "--tokenizer": folder}, *shown, steps=1), theirs)


@pytest.mark.parametrize("generation", ["0.9.0", "0.9.1", "0.9.5"])
def test_ltx_video(convert, tmp_path, generation):
    ltx.make(tmp_path, generation)
    original = safetensors.torch.load_file(tmp_path / "file.safetensors")
    original = {k: t for k, t in original.items() if "statistics" not in k or k.endswith("-of-means")}
    for folder in (tmp_path / "converted", tmp_path / "file.safetensors"):
        more = [] if folder.is_dir() else ["--text-encoder", tmp_path / "converted"]
        files = convert(folder, f"{folder.stem}-x.safetensors", *more)
        for name, prefix in (("transformer", ltx.PREFIX), ("vae", "vae.")):
            assert holds(files[name], {k.removeprefix(prefix): t for k, t in original.items() if k.startswith(prefix)})
    with safetensors.safe_open(files["vae"], "pt") as file, safetensors.safe_open(tmp_path / "file.safetensors", "pt") as source:
        told = (source.metadata() or {}).get("config")
        assert (file.metadata() or {}).get("config") == told
        assert told is None or json.loads(told)["vae"]


def test_t5_with_its_tokenizer_in_one_file(run, convert, tmp_path):
    """Whose table of characters makes one of several: as llama.cpp's header has it, too."""
    ltx.make(tmp_path, "0.9.0")
    folder, prompt = tmp_path / "converted", "a \ufb01ne \u201cre\u0301d\u201d circle, 100\u00a0%"
    spiece = (folder / "tokenizer" / "spiece.model").read_bytes()
    model = sentencepiece.sentencepiece_model_pb2.ModelProto.FromString(spiece)
    assert model.normalizer_spec.precompiled_charsmap

    def latents(encoder, *more):
        out = tmp_path / "latents.safetensors"
        run("eav", "generate", prompt, "--model", tmp_path / "file.safetensors", "--text-encoder", encoder, *more, "--steps", 2,
            "--width", 64, "--height", 64, "--frames", 9, "--seed", 1, "--overwrite", "--out", f"{tmp_path}/frames/",
            "--save-latents", out)  # fmt: skip
        return safetensors.torch.load_file(out)["latents"]

    ours = convert(folder, "x.gguf")["text_encoder"]
    theirs = latents(ours, "--tokenizer", folder / "tokenizer")
    assert theirs.std() > 0.1 and torch.equal(latents(ours), theirs)
    stored = bytes(np.array(gguf.GGUFReader(ours).fields["tokenizer.ggml.precompiled_charsmap"].contents(), np.int8))
    assert stored == model.normalizer_spec.precompiled_charsmap

    text = {renamed(k, LLAMA_CPP_T5): t for k, t in part(folder, "text_encoder").items() if "embed_tokens" not in k}
    theirs = latents(folder)
    assert torch.equal(latents(write_gguf(tmp_path / "t5.gguf", text, "t5encoder", spiece)), theirs)
