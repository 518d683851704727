"""The PyTorch operators on a device that is no CPU."""

import enhance_a_video as eav
import pytest
import torch
from conftest import FAKE_DEVICE

FRAMES = 13


@pytest.fixture(scope="module", autouse=True)
def device():
    torch.ops.load_library(FAKE_DEVICE)


def pair(dtype, layout):
    generator = torch.Generator().manual_seed(0)
    shape = (2, FRAMES * 7, 3, 64)  # [B, T*S, heads, d], as queries lie in memory
    tensors = [torch.randn(shape, generator=generator).to(dtype).transpose(1, 2) for _ in range(2)]
    return [t.contiguous() for t in tensors] if layout == "heads first" else tensors


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", ["tokens first", "heads first"])
@pytest.mark.parametrize("function", [eav.cfi, eav.attention_map, lambda q, k, frames: torch.ops.eav.cfi_per_head(q, k, frames)])
def test_values_are_those_of_the_cpu(function, dtype, layout):
    query, key = pair(dtype, layout)
    found = function(query.to("fake"), key.to("fake"), FRAMES)
    assert found.device.type == "fake" and found.dtype == torch.float32
    torch.testing.assert_close(found.cpu(), function(query, key, FRAMES), rtol=5e-6, atol=1e-7)


def test_devices_do_not_mix():
    query, key = pair(torch.float32, "tokens first")
    with pytest.raises(RuntimeError, match="fake:0 and cpu"):
        eav.cfi(query.to("fake"), key, FRAMES)


def test_the_device_refuses_what_a_gpu_refuses():
    """The stand-in itself: tests against it mean something."""
    x = torch.ones(3, 4).to("fake")
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        x @ torch.ones(4, 3)
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        torch.nn.functional.layer_norm(x, (4,), torch.ones(4), torch.zeros(4))
    with pytest.raises(RuntimeError, match="not implemented for 'Long'"):
        x.long() @ x.long().mT
    assert (x + torch.tensor(2.0)).cpu().tolist() == [[3.0] * 4] * 3  # a number of the CPU
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(1 << 40, device="fake")
