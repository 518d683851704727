"""Checkpoints that are damaged or of another kind: the line names the file, the tensor or the field."""

import json
import os
import struct
import subprocess

import numpy
import pytest
from conftest import PROGRAM, PROMPT
from safetensors.numpy import load_file, save_file

TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"


def edit_json(file, **changes):
    content = json.loads(file.read_text())
    content.update(changes)
    file.write_text(json.dumps(content))


def edit_tensors(file, change):
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def edit_header(file, change):
    """Changes the table of tensors, and leaves the data as it is."""
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header)
    encoded = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(encoded)) + encoded + content[8 + length :])


def test_a_folder_that_is_no_checkpoint(refused, out):
    assert "model_index.json" in refused(model=out.parent)
    assert "missing" in refused(model=out.parent / "missing")


def test_an_unknown_family_is_named_beside_the_known_ones(refused, checkpoint):
    edit_json(checkpoint / "model_index.json", _class_name="StableDiffusionPipeline")
    line = refused(model=checkpoint)
    assert "StableDiffusionPipeline" in line and "CogVideoX" in line


@pytest.mark.parametrize("part", ["text_encoder", "transformer", "vae", "scheduler", "tokenizer"])
def test_a_part_that_is_missing(refused, checkpoint, part):
    (checkpoint / part).rename(checkpoint / "elsewhere")
    assert part in refused(model=checkpoint)


def test_weights_that_are_missing(refused, checkpoint):
    (checkpoint / TRANSFORMER).unlink()
    assert "transformer" in refused(model=checkpoint)


@pytest.mark.parametrize(
    "file, field, value, expected",
    [
        ("transformer/config.json", "num_layers", "two", '"num_layers" is "two", expected a whole number'),
        ("transformer/config.json", "num_layers", 0, '"num_layers" is 0, expected a number of at least 1'),
        ("transformer/config.json", "use_rotary_positional_embeddings", 1, "expected true or false"),
        ("transformer/config.json", "ofs_embed_dim", 512, "image-to-video"),
        ("transformer/config.json", "text_embed_dim", 32, "takes 32 channels of text embeddings"),
        ("vae/config.json", "block_out_channels", "8", '"block_out_channels" is "8"'),
        ("vae/config.json", "act_fn", "relu", '"act_fn" is "relu"'),
        ("scheduler/scheduler_config.json", "num_train_timesteps", "x", '"num_train_timesteps" is "x"'),
        ("scheduler/scheduler_config.json", "beta_start", [1], '"beta_start" is [1]'),
        ("text_encoder/config.json", "d_model", 1.5, '"d_model" is 1.5'),
    ],
)
def test_a_json_field_that_cannot_be(refused, checkpoint, file, field, value, expected):
    edit_json(checkpoint / file, **{field: value})
    line = refused(model=checkpoint)
    assert str(checkpoint) in line and expected in line


@pytest.mark.parametrize("file", ["model_index.json", "transformer/config.json", "vae/config.json"])
def test_a_file_that_is_no_json(refused, checkpoint, file):
    (checkpoint / file).write_text('{"half": ')
    line = refused(model=checkpoint)
    assert str(checkpoint / file) in line and "is no valid JSON object" in line


def test_a_checkpoint_default_that_nobody_knows(refused, checkpoint):
    (checkpoint / "eav.json").write_text('{"stepz": 3}')
    assert '"stepz"' in refused(model=checkpoint)


@pytest.mark.parametrize("size", [0, 4, 8, 100, -1])
def test_a_truncated_file(refused, checkpoint, size):
    file = checkpoint / TRANSFORMER
    file.write_bytes(file.read_bytes()[:size])
    assert str(file) in refused(model=checkpoint)


@pytest.mark.parametrize("kept", [0, -4])  # of the last page, what is lost reads as zeros
def test_a_file_that_is_cut_while_it_is_used(checkpoint, out, kept):
    file = checkpoint / TRANSFORMER
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = content[8 : 8 + length].ljust(-(-length // 64) * 64 + 56)  # tensors then lie in the file itself
    file.write_bytes(struct.pack("<Q", len(header)) + header + content[8 + length :])
    process = subprocess.Popen([PROGRAM, "generate", PROMPT, "--model", checkpoint, "--steps", "1000", "--width", "192", "--height",
                                "192", "--out", "a.mp4"], cwd=out, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    for line in process.stderr:
        if line.startswith("transformer "):  # a tenth of the steps
            break
    os.truncate(file, file.stat().st_size + kept if kept else 0)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stderr.splitlines()[-1].startswith(f"eav: {file}: cannot be read any more: the file was cut short")
    assert stderr.count("eav: ") == 1 and not (out / "a.mp4").exists()


def test_a_header_that_claims_to_be_huge(refused, checkpoint):
    file = checkpoint / TRANSFORMER
    file.write_bytes(struct.pack("<Q", 1 << 60) + file.read_bytes()[8:])
    assert str(file) in refused(model=checkpoint)


def shift(header):
    name = sorted(key for key in header if key != "__metadata__")[1]
    begin, end = header[name]["data_offsets"]
    header[name]["data_offsets"] = [begin - 4, end - 4]


def outgrow(header):
    for entry in header.values():
        if "data_offsets" in entry:
            entry["data_offsets"] = [offset + (1 << 40) for offset in entry["data_offsets"]]


def no_table(header):
    header["proj_out.weight"] = 3


@pytest.mark.parametrize("damage", [shift, outgrow, no_table])
def test_a_header_that_contradicts_the_file(refused, checkpoint, damage):
    edit_header(checkpoint / TRANSFORMER, damage)
    assert str(checkpoint / TRANSFORMER) in refused(model=checkpoint)


def test_a_missing_tensor(refused, checkpoint):
    edit_tensors(checkpoint / TRANSFORMER, lambda tensors: tensors.pop("transformer_blocks.1.attn1.to_k.weight"))
    line = refused(model=checkpoint)
    assert "transformer_blocks.1.attn1.to_k.weight" in line and TRANSFORMER in line


def test_a_tensor_of_another_shape(refused, checkpoint):
    edit_tensors(checkpoint / TRANSFORMER, lambda tensors: tensors.update({"proj_out.weight": numpy.zeros((3, 5), numpy.float32)}))
    line = refused(model=checkpoint)
    assert "proj_out.weight" in line and "[3, 5]" in line and "[16, 64]" in line


def test_a_tensor_that_nobody_knows(refused, checkpoint):
    lora = {"transformer_blocks.0.lora": numpy.zeros(3, numpy.float32)}
    edit_tensors(checkpoint / TRANSFORMER, lambda tensors: tensors.update(lora))
    line = refused(model=checkpoint)
    assert "lora" in line and TRANSFORMER in line
