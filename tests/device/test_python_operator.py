"""The Python package's operators on a device that is no CPU: their values, and how many kernels a layer takes."""

import json
import sys

import pytest
from test_cfi import LAYERS, SIZES

# The operators alone: the package itself imports diffusers, which takes seconds.
IMPORTS = """
import importlib.util, json, sys, types, torch

folders = importlib.util.find_spec("enhance_a_video").submodule_search_locations
package = sys.modules["enhance_a_video"] = types.ModuleType("enhance_a_video")
package.__path__ = folders
from enhance_a_video import operators as eav

# What PyTorch's Python asks a device that is none of its own.
torch._register_device_module("fake", types.SimpleNamespace(
    is_available=lambda: True, is_initialized=lambda: True, _is_in_bad_fork=lambda: False, _lazy_init=lambda: None,
    current_device=lambda: 0, device_count=lambda: 1, get_amp_supported_dtype=lambda: [torch.bfloat16],
))
"""

VALUES = """
found = {}
for dtype in torch.float32, torch.bfloat16, torch.float16:
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, 4 + 13 * 7 + 3, 3, 64, generator=generator).mul(1.5).to(dtype) for _ in "qk")
    for function in eav.cfi, eav.gain, eav.attention_map:
        here, there = (
            function(*(x.to(device) for x in (query, key)), 13, layout="blhd", text_first=4, text_last=3)
            for device in ("cpu", "fake")
        )
        assert there.device.type == "fake" and there.dtype == torch.float32
        found[f"{function.__name__} {dtype}"] = ((there.cpu() - here).abs() / here).max().item()
print(json.dumps(found))
"""

A_LAYER = """
shape, frames, dtype = json.loads(sys.argv[1])
query, key = (torch.empty(shape, dtype=getattr(torch, dtype), device="fake") for _ in "qk")
eav.cfi(query, key, frames, layout="blhd")
"""

# The device's autocast does to products what CUDA's does.
AUTOCAST = """
others = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
others.fallback(torch.library.fallthrough_kernel)
library = torch.library.Library("aten", "IMPL")
for name in "bmm", "baddbmm":

    def narrowed(*tensors, name=name, **more):
        with torch.autocast("fake", enabled=False):
            return getattr(torch, name)(*(x.bfloat16() for x in tensors), **more)

    library.impl(name, narrowed, "AutocastPrivateUse1")

query, key = (torch.randn(2, 3, 13 * 7, 64).mul(1.5).to("fake") for _ in "qk")
plain = eav.cfi(query, key, 13), eav.attention_map(query, key, 13)
with torch.autocast("fake", dtype=torch.bfloat16):
    assert torch.bmm(query[0], key[0].mT).dtype == torch.bfloat16
    autocast = eav.cfi(query, key, 13), eav.attention_map(query, key, 13)
print(json.dumps([torch.equal(*(x.cpu() for x in pair)) for pair in zip(plain, autocast)]))
"""


@pytest.fixture
def python(program):
    """python(script, argument, capacity=...): what it prints, as JSON, and what the device counted."""

    def run(script, argument="", **device):
        done, counted = program(sys.executable, "-c", IMPORTS + script, argument, **device)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout or "null"), counted

    return run


def test_values_are_those_of_the_cpu(python):
    found, _ = python(VALUES)
    assert len(found) == 9 and max(found.values()) < 4e-6, found


@pytest.mark.parametrize("dtype", SIZES)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_takes_few_kernels(python, layer, dtype):
    batch, frames, positions, heads, size = LAYERS[layer]
    _, counted = python(A_LAYER, json.dumps([(batch, frames * positions, heads, size), frames, dtype]), count_only=1)
    print(counted)
    assert 1 <= counted["kernels"] <= 20, counted["by_kernel"]
    assert counted["synchronizations"] == counted["copies_to_device"] == 0
    assert not any("copy" in name for name in counted["by_kernel"]), counted["by_kernel"]


def test_autocast_changes_nothing(python):
    assert python(AUTOCAST)[0] == [True, True]
