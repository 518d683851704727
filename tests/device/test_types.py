"""The types that parts compute in on a device that is no CPU, where nobody asks for one."""

import json
import shutil

import pytest
import safetensors.torch
import torch

SIZE = ["--width", 32, "--height", 32, "--frames", 9, "--steps", 2, "--seed", 1]


def store(folder, part, dtype):
    for file in (folder / part).glob("*.safetensors"):
        tensors = safetensors.torch.load_file(file)
        safetensors.torch.save_file({key: tensor.to(dtype) for key, tensor in tensors.items()}, file, {"format": "pt"})


@pytest.fixture
def generate(program, tmp_path):
    """generate(options...): the process, the latents and the record."""

    def run(*options):
        files = tmp_path / "video.mp4", tmp_path / "latents.safetensors", tmp_path / "video.json"
        done, _ = program("eav", "generate", *options, "--device", "fake", "--threads", 1, "--out", files[0], "--overwrite",
                          "--save-latents", files[1])  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done, safetensors.torch.load_file(files[1])["latents"], json.loads(files[2].read_text())

    return run


def test_each_part_computes_in_the_type_that_it_is_stored_in(checkpoint, generate, tmp_path):
    """As HunyuanVideo is released: a bfloat16 transformer beside float16 encoders and autoencoder."""
    folder = shutil.copytree(checkpoint("hunyuan-video"), tmp_path / "model")
    for part in ("text_encoder", "text_encoder_2", "vae"):
        store(folder, part, torch.float16)
    store(folder, "transformer", torch.bfloat16)
    _, latents, record = generate("a", "--model", folder, *SIZE)
    assert record["dtype"] == "bfloat16,text_encoder=float16,text_encoder_2=float16,vae=float16"
    _, again, _ = generate("--from", shutil.copy(tmp_path / "video.json", tmp_path / "record.json"))
    assert torch.equal(latents, again)
    _, alike, record = generate("a", "--model", folder, "--dtype", "bfloat16", *SIZE)
    assert record["dtype"] == "bfloat16" and not torch.equal(latents, alike)


def test_float32_becomes_bfloat16_and_is_said(checkpoint, generate):
    done, latents, record = generate("a", "--model", checkpoint("cogvideox"), *SIZE)
    assert record["dtype"] == "bfloat16"
    assert "is stored in float32 and computes in bfloat16: --dtype float32" in done.stderr
    done, exact, record = generate("a", "--model", checkpoint("cogvideox"), *SIZE, "--dtype", "float32")
    assert record["dtype"] == "float32" and "bfloat16" not in done.stderr
    assert 1e-4 < (latents - exact).abs().max() / exact.abs().max() < 0.1


def test_a_part_takes_a_type_of_its_own(checkpoint, generate, program):
    _, latents, record = generate("a", "--model", checkpoint("cogvideox"), *SIZE, "--dtype", "float32,vae=bfloat16")
    assert record["dtype"] == "float32,vae=bfloat16"
    _, same, _ = generate("a", "--model", checkpoint("cogvideox"), *SIZE, "--dtype", "float32")
    assert torch.equal(latents, same)
    done, _ = program("eav", "generate", "a", "--model", checkpoint("cogvideox"), "--dtype", "float32,clip=float16")
    assert done.returncode == 1
    assert done.stderr == 'eav: "clip" is no part of this model, which has text_encoder, transformer, vae\n'


def test_int8_is_refused(checkpoint, program):
    done, _ = program("eav", "generate", "a", "--model", checkpoint("cogvideox"), "--device", "fake", "--quantize", "int8")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].endswith("int8 works on a CPU, not on fake: leave --quantize out, or choose --device cpu")
