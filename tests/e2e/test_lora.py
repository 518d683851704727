"""LoRAs as a user gives them: what is said of them, what is refused, and that a record holds them."""

import json

import pytest
import safetensors.torch
import torch
from conftest import PROMPT, SMALL

LAYERS = [f"transformer_blocks.{i}.attn1.{name}" for i in range(2) for name in ("to_q", "to_k", "to_v", "to_out.0")]
CHANNELS = 64  # of the tiny checkpoint


def save(path, layers=LAYERS, prefix="transformer.", rows=CHANNELS, columns=CHANNELS, **more):
    generator = torch.Generator().manual_seed(1)
    tensors = dict(more)
    for layer in layers:
        tensors[f"{prefix}{layer}.lora_A.weight"] = torch.randn(2, columns, generator=generator)
        tensors[f"{prefix}{layer}.lora_B.weight"] = torch.randn(rows, 2, generator=generator)
    safetensors.torch.save_file(tensors, path)
    return path


@pytest.fixture
def lora(tmp_path):
    return save(tmp_path / "style.safetensors")


def latents(eav, tiny, out, name, *options):
    """The text that a run printed, and its latents."""
    done = eav("generate", PROMPT, "--model", tiny, *SMALL, "--seed", "1", "--out", f"{name}.mp4", "--save-latents",
               f"{name}.safetensors", *options)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr, safetensors.torch.load_file(out / f"{name}.safetensors")["latents"]


def test_a_record_holds_it(eav, tiny, out, lora):
    said, changed = latents(eav, tiny, out, "a", "--lora", f"{lora}:0.7")
    assert "style.safetensors:0.7: 8 layers changed\n" in said
    plain = latents(eav, tiny, out, "b")[1]
    assert not torch.allclose(plain, changed)
    record = json.loads((out / "a.json").read_text())
    assert record["loras"] == [{"file": str(lora), "strength": 0.7}]
    assert record["fingerprint"] != json.loads((out / "b.json").read_text())["fingerprint"]

    def again(name, source, *options):
        done = eav("generate", "--from", source, "--out", f"{name}.mp4", "--save-latents", f"{name}.safetensors",
                   "--model", tiny, "--overwrite", *options)  # fmt: skip
        return done, out / f"{name}.safetensors"

    done, file = again("c", "a.json")
    assert done.returncode == 0 and "warning" not in done.stderr, done.stderr
    assert torch.equal(safetensors.torch.load_file(file)["latents"], changed)
    # The video names the file alone, which is not beside it; what is given in its place is as strong.
    done, file = again("d", "a.mp4")
    assert done.returncode == 1 and "'style.safetensors', which is not beside it: give --lora" in done.stderr
    done, file = again("d", "a.mp4", "--lora", lora)
    assert done.returncode == 0 and "fingerprint" not in done.stderr, done.stderr
    assert torch.equal(safetensors.torch.load_file(file)["latents"], changed)
    done, file = again("e", "a.mp4", "--no-lora")
    assert torch.equal(safetensors.torch.load_file(file)["latents"], plain)


def test_what_is_left_out_is_said(eav, tiny, out, tmp_path):
    more = {f"lora_te1_layers_{i}.lora_up.weight": torch.ones(2, 1) for i in range(3)}
    more["transformer.other.diff"] = torch.ones(2)
    more["transformer.transformer_blocks.0.attn1.to_q.diff_b"] = torch.ones(CHANNELS)
    lora = save(tmp_path / "style.safetensors", **more)
    said = latents(eav, tiny, out, "a", "--lora", lora)[0]
    assert ("style.safetensors: 8 layers changed by 17 of its 21 tensors; left out: 3 of a text encoder, which stays "
            "as it is (lora_te1_layers_0.lora_up.weight, …), 1 of no layer of this model (transformer.other.diff)\n") in said


WAN = [f"blocks.{i}.self_attn.{name}" for i in range(2) for name in "qkvo"]


@pytest.mark.parametrize("name, expected", [
    ("wan", "fits nothing of this model, which is CogVideoX, and was made for Wan, 96 channels: 16 of no layer of this model"),
    ("wide", "does not fit this model: it changes \"transformer_blocks.0.attn1.to_k\" by 96x96, where "
             "\"transformer_blocks.0.attn1.to_k.weight\" has shape [64, 64]; it was made for CogVideoX, 96 channels"),
    ("half", "is no sound LoRA: \"a.lora_up.weight\" is there, but of the same layer no \"lora_A.weight\""),
    ("ranks", "is no sound LoRA: \"a.lora_up.weight\" has rank 3, but \"a.lora_down.weight\" rank 2"),
    ("core", "is no sound LoRA: \"a.lora_mid.weight\" has shape [2, 3, 1, 1], expected [2, 2, ...]"),
    ("weights", "is no LoRA: none of its 1 tensors is a change of a layer"),
    ("pickled.pt", "holds pickled objects, which are not read: take the LoRA as .safetensors"),
    ("missing", "missing.safetensors"),
    ("style:high", "this model has one transformer: leave ':high' out"),
])  # fmt: skip
def test_what_does_not_work_is_refused(eav, tiny, out, tmp_path, name, expected):
    save(tmp_path / "style.safetensors")
    save(tmp_path / "wan.safetensors", WAN, "diffusion_model.", 96, 96)
    save(tmp_path / "wide.safetensors", rows=96, columns=96)
    save(tmp_path / "half.safetensors", [], **{"a.lora_up.weight": torch.ones(2, 1)})
    save(tmp_path / "ranks.safetensors", [], **{"a.lora_up.weight": torch.ones(2, 3), "a.lora_down.weight": torch.ones(2, 2)})
    save(tmp_path / "core.safetensors", [], **{"a.lora_up.weight": torch.ones(2, 2), "a.lora_down.weight": torch.ones(2, 2),
                                               "a.lora_mid.weight": torch.ones(2, 3, 1, 1)})  # fmt: skip
    save(tmp_path / "weights.safetensors", [], **{"a.weight": torch.ones(2, 3)})
    (tmp_path / "pickled.pt").write_bytes(b"")
    name, _, expert = name.partition(":")
    path = tmp_path / (name if "." in name else f"{name}.safetensors")
    done = eav("generate", PROMPT, "--model", tiny, *SMALL, "--lora", f"{path}:{expert}" if expert else path)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert str(path) in done.stderr and expected in done.stderr
    assert not list(out.iterdir())


def test_inspect(eav, tmp_path):
    lora = save(tmp_path / "style.safetensors", WAN, "diffusion_model.", 96, 96)
    done = eav("inspect", lora)
    assert done.returncode == 0, done.stderr
    for line in ("form            LoRA", "names as of     ComfyUI", "made for        Wan, 96 channels", "layers          8",
                 "rank            2", "parameters      3.1 k"):  # fmt: skip
        assert f"  {line}\n" in done.stdout, done.stdout
