"""Parts of Open-Sora against numbers that its own code gave: a folder as README.md in tests/data/open_sora describes.

$EAV_OPEN_SORA_GOLDENS names another folder of that shape.
"""

import os
import re
from pathlib import Path

import pytest
import torch
from comparing import error
from safetensors.torch import load_file
from stdit3 import STDiT3

GOLDENS = Path(os.environ.get("EAV_OPEN_SORA_GOLDENS", Path(__file__).resolve().parents[1] / "data/open_sora"))


def settings_of_sampling():
    """As the numbers' README gives them in words, for the cases that do not hold them."""
    text = (GOLDENS / "README.md").read_text() if (GOLDENS / "README.md").exists() else ""
    words = {"steps": r"(\d+) steps", "guidance": r"guidance (\d+)", "height": r"height (\d+)", "width": r"width (\d+)",
             "frames": r"(\d+) frames, ", "fps": r"(\d+) fps"}  # fmt: skip
    usual = {"steps": 6, "guidance": 7, "height": 48, "width": 64, "frames": 17, "fps": 24}
    found = {name: re.search(pattern, text) for name, pattern in words.items()}
    return {name: int(match[1]) if match else usual[name] for name, match in found.items()}


SECOND_MODEL = ["second_model/forward"] if (GOLDENS / "second_model").exists() else []


@pytest.fixture
def probe(run, tmp_path):
    """probe(part, case, options...) runs a part with the inputs of a case, and returns what it wrote."""

    def probe(part, case, **options):
        out = tmp_path / "out.safetensors"
        named = [word for name, value in options.items() if value is not None for word in (f"--{name}", value)]
        path = GOLDENS / f"{case}.safetensors"
        run("eav_probe", "open_sora", part, path.parent, "--input", path, "--out", out, *named)
        return load_file(out)

    return probe


def weights(case):
    """How a case was enhanced: None is not at all."""
    named = [key.removeprefix("out_weight_") for key in case if key.startswith("out_weight_")]
    return [None, *sorted(named)]


@pytest.mark.parametrize("case", ["even", "odd_size", "frame_mask", *SECOND_MODEL])
def test_transformer(probe, case):
    theirs = load_file(GOLDENS / f"{case}.safetensors")
    assert len(weights(theirs)) > 1
    for weight in weights(theirs):
        ours = probe("forward", case, weight=weight)
        name = "off" if weight is None else f"weight_{weight}"
        assert ours["out"].shape == theirs[f"out_{name}"].shape
        print(case, name, error(ours["out"], theirs[f"out_{name}"]))
        assert error(ours["out"], theirs[f"out_{name}"]) < 1e-4
        if weight is not None:
            assert torch.allclose(ours["cfi"], theirs[f"cfi_{name}"], rtol=1e-4)
            assert torch.allclose(ours["gain"], theirs[f"gain_{name}"], rtol=1e-4)


@pytest.mark.parametrize("case", sorted(p.stem for p in GOLDENS.glob("sampling*.safetensors")))
def test_sampling(probe, case):
    theirs = load_file(GOLDENS / f"{case}.safetensors")
    settings = {name: int(theirs.get(name, value)) for name, value in settings_of_sampling().items()}
    for weight in weights(theirs):
        ours = probe("sample", case, weight=weight, **settings)["out"]
        expected = theirs["out_off" if weight is None else f"out_weight_{weight}"]
        assert ours.shape == expected.shape
        print(case, weight, error(ours, expected))
        assert error(ours, expected) < 1e-4


@pytest.mark.parametrize("frames", sorted(int(k[2:]) for k in load_file(GOLDENS / "vae_cases.safetensors") if k.startswith("z_")))
def test_vae_decodes(probe, frames):
    theirs = load_file(GOLDENS / "vae_cases.safetensors")[f"video_{frames}"]
    ours = probe("decode", "vae_cases", frames=frames)["video"]
    print(frames, error(ours, theirs.float()))
    assert ours.shape == theirs.shape
    assert error(ours, theirs.float()) < (1e-4 if theirs.dtype == torch.float32 else 1e-3)


def test_vae_encodes(probe):
    theirs = load_file(GOLDENS / "vae_cases.safetensors")["encode_mode"]
    ours = probe("encode", "vae_cases")["mode"]
    print(error(ours, theirs))
    assert ours.shape == theirs.shape
    assert error(ours, theirs) < 1e-4


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("case", ["even", "odd_size"])
def test_16_bits_are_as_near_as_pytorch_is(probe, case, dtype):
    """The distance to the release's numbers in float32: at most twice that of PyTorch with layers rounded to the type."""
    inputs = load_file(GOLDENS / f"{case}.safetensors")
    exact = inputs["out_off"]
    assert error(STDiT3(GOLDENS, torch.float32)(inputs), exact) < 1e-4

    def distance(out):
        return ((out - exact).norm() / exact.norm()).item()

    theirs = distance(STDiT3(GOLDENS, getattr(torch, dtype))(inputs))
    ours = distance(probe("forward", case, compute=dtype)["out"])
    print(case, dtype, f"{ours:.2e} {theirs:.2e}")
    assert ours <= 2 * theirs
