"""CFI on a device that is no CPU: its values, and how many kernels a layer of a real size takes."""

import pytest
import safetensors.torch
import torch

# batch, token frames, positions, heads, head size
LAYERS = {
    "HunyuanVideo, 1280x720x129": (1, 33, 3600, 24, 128),
    "CogVideoX-5B, 480x720x49": (2, 13, 1350, 48, 64),
}
SIZES = {"float32": 4, "bfloat16": 2}
PIECE = 256e6  # bytes of scores at a time


@pytest.mark.parametrize("dtype", SIZES)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_takes_few_kernels(program, layer, dtype):
    batch, frames, positions, heads, size = LAYERS[layer]
    shape = (batch, frames * positions, heads, size)
    done, counted = program("eav_probe", "cfi", "--device", "fake", "--shape", ",".join(map(str, shape)), "--frames", frames,
                            "--dtype", dtype, count_only=1)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 1 <= counted["kernels"] <= 20, counted["by_kernel"]
    assert "copy" not in counted["by_kernel"] and counted["synchronizations"] == 0
    inputs = 2 * torch.Size(shape).numel() * SIZES[dtype]
    assert inputs < counted["peak"] <= inputs + 2 * PIECE  # scores, and their softmax


def formula(query, key, frames):
    """Of [B, T*S, heads, d], with whole maps."""
    query, key = (x.double().unflatten(1, (frames, -1)).permute(0, 2, 3, 1, 4) for x in (query, key))
    maps = (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)
    return maps[..., ~torch.eye(frames, dtype=torch.bool)].mean((1, 2, 3))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("shape", [(1, 2, 1, 1, 8), (2, 13, 7, 3, 64), (1, 33, 5, 4, 20)])
def test_cfi_is_the_formula(program, tmp_path, shape, dtype):
    batch, frames, positions, heads, size = shape
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(batch, frames * positions, heads, size, generator=generator) for _ in "qk")
    query, key = (x.mul(1.5).to(getattr(torch, dtype)) for x in (query, key))
    safetensors.torch.save_file({"query": query, "key": key}, tmp_path / "in")
    done, counted = program("eav_probe", "cfi", "--device", "fake", "--shape", "", "--frames", frames, "--dtype", dtype,
                            "--input", tmp_path / "in", "--out", tmp_path / "out")  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = safetensors.torch.load_file(tmp_path / "out")["cfi"].double()
    torch.testing.assert_close(found, formula(query, key, frames), rtol=2e-6, atol=0)
