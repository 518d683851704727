"""The part of ComfyUI's nodes that needs PyTorch alone."""

import importlib.util
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

NODES = Path(__file__).parent.parent.parent / "integrations" / "comfyui"

IMPORT = """
import importlib.abc, importlib.util, sys

class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("comfy", "enhance_a_video", "diffusers", "numpy", "PIL", "einops"):
            raise ModuleNotFoundError(f"hidden: {name}")

sys.meta_path.insert(0, Hidden())
folder = sys.argv[1]
spec = importlib.util.spec_from_file_location("nodes", folder + "/__init__.py", submodule_search_locations=[folder])
module = sys.modules["nodes"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
"""


@pytest.fixture(scope="module")
def nodes():
    spec = importlib.util.spec_from_file_location(
        "eav_nodes", NODES / "__init__.py", submodule_search_locations=[str(NODES)]
    )
    module = sys.modules["eav_nodes"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exact(query, key, frames):
    """The formula with full maps, in float64."""
    query, key = (x.unflatten(2, (frames, -1)).transpose(2, 3).double() for x in (query, key))  # [B, heads, S, T, d]
    maps = (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)
    return maps[..., ~torch.eye(frames, dtype=torch.bool)].mean((1, 2, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1, 2, 2, 1, 8), (2, 3, 5, 7, 64), (3, 2, 13, 40, 128), (1, 24, 3, 11, 20)])
@pytest.mark.parametrize("heads_first", [True, False])
def test_cfi_equals_the_formula(nodes, monkeypatch, shape, dtype, heads_first):
    batch, heads, frames, positions, size = shape
    torch.manual_seed(0)
    q, k = (torch.randn(batch, frames * positions, heads, size).mul(1.5).to(dtype).transpose(1, 2) for _ in "qk")
    if heads_first:
        q, k = q.contiguous(), k.contiguous()
    reference = exact(q, k, frames)
    for piece in (1, 1 << 12, 1 << 23):  # one position at a time, some, all
        monkeypatch.setattr(nodes.formula, "PIECE", piece)
        torch.testing.assert_close(nodes.formula.cfi_in_pieces(q, k, frames).double(), reference, rtol=2e-6, atol=0)


def test_autocast_changes_nothing(nodes):
    torch.manual_seed(0)
    q, k = (torch.randn(1, 2, 5 * 7, 64) for _ in "qk")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(nodes.formula.cfi_in_pieces(q, k, 5).double(), exact(q, k, 5), rtol=2e-6, atol=0)


def test_cfi_equals_the_operator(nodes):
    pytest.importorskip("enhance_a_video")
    operator = nodes.formula.operator()
    assert operator is not None
    q, k = torch.randn(2, 2, 3, 5 * 9, 32)
    torch.testing.assert_close(nodes.formula.cfi_in_pieces(q, k, 5), operator(q, k, 5), rtol=2e-6, atol=0)
    torch.testing.assert_close(nodes.formula.cfi(q, k, 5), operator(q, k, 5), rtol=0, atol=0)


def test_memory_stays_bounded(nodes):
    """Pieces, not full maps: a map of this layer alone would be 2 GB."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        seen = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.dtype == torch.float32:
                self.seen = max(self.seen, result.untyped_storage().nbytes())
            return result

    frames, positions = 160, 2700
    q = torch.randn(1, 1, 1, 8).bfloat16().expand(1, 8, frames * positions, 8)
    with Largest() as largest:
        nodes.formula.cfi_in_pieces(q, q, frames)
    assert largest.seen <= 4 * nodes.formula.PIECE


def test_gain_is_clamped(nodes):
    cfi = torch.tensor([0.0, 0.1, 0.3])
    torch.testing.assert_close(nodes.formula.gain_of(cfi, 5, 3.0), torch.tensor([1.0, 1.0, 2.4]))
    assert (nodes.formula.gain_of(cfi, 5, -100.0) == 1).all()


def test_import_needs_torch_alone():
    subprocess.run([sys.executable, "-c", IMPORT, NODES], check=True, timeout=120)


def module_of(layers):
    return [types.SimpleNamespace(stream=stream, index=i, number=n) for n, (stream, i) in enumerate(layers)]


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ("all", [0, 1, 2, 3, 4]),
        ("double", [0, 1]),
        ("single 1-2", [3, 4]),
        ("Double 0 , single 0", [0, 2]),
        ("1-2, 4", [1, 2, 4]),
        ("3-99", [3, 4]),
    ],
)
def test_blocks(nodes, wanted, numbers):
    layers = module_of([("double", 0), ("double", 1), ("single", 0), ("single", 1), ("single", 2)])
    assert [layer.number for layer in nodes.families.select(layers, wanted)] == numbers


@pytest.mark.parametrize("wanted", ["", ",", "double 5", "9", "-3", "1-2-3", "2-1", "triple", "single one", "0,,1"])
def test_blocks_that_are_not_there(nodes, wanted):
    layers = module_of([("double", 0), ("double", 1), ("single", 0)])
    with pytest.raises(ValueError, match="The model has 2 double, 1 single blocks"):
        nodes.families.select(layers, wanted)
    with pytest.raises(ValueError, match="The model has 3 blocks"):
        nodes.families.select(module_of([("", 0), ("", 1), ("", 2)]), "double")


def test_grids(nodes):
    """T, S and the tokens before them, where models of other versions of ComfyUI than the tested one have them."""
    model = types.SimpleNamespace
    call = lambda *shape, **more: {"x": torch.empty(shape), **more}  # noqa: E731
    grids = {family.name: family.grid for family in nodes.families.FAMILIES}
    grid = nodes.families.Grid
    fifteen = model(patch_size=[1, 1, 1], double_blocks=[model()])
    assert grids["HunyuanVideo"](fifteen, call(1, 65, 9, 4, 5)) == grid(9, 20, None)
    old = model(patch_size=[1, 2, 2], double_blocks=[model(flipped_img_txt=True)])
    assert grids["HunyuanVideo"](old, call(1, 16, 9, 4, 5, ref_latent=torch.empty(1, 16, 1, 4, 5))) == grid(9, 6, 6)
    cog = model(patch_size=2, patch_size_t=None)
    assert grids["CogVideoX"](cog, call(2, 16, 13, 6, 9)) == grid(13, 15, None)
    assert grids["CogVideoX"](model(patch_size=2, patch_size_t=2), call(2, 16, 13, 6, 8)) == grid(7, 12, None)
    assert grid(3, 4, None).video(20) == slice(8, 20) and grid(3, 4, 5).video(20) == slice(5, 17)
    assert grid(3, 4, None).video(11) is None and grid(3, 4, 9).video(20) is None
    wan = model(patch_size=(1, 2, 2), ref_conv=object())
    reference = torch.empty(1, 16, 6, 8)
    assert grids["Wan"](wan, call(1, 36, 5, 6, 8, reference_latent=reference)) == grid(5, 12, 12)
    spoken = model(patch_size=(1, 2, 2), ref_conv=None)
    assert grids["Wan"](spoken, call(1, 36, 5, 6, 8, reference_latent=reference[:, :, None])) == grid(5, 12, 0)
    guided = call(1, 128, 6, 4, 5, keyframe_idxs=torch.empty(1, 3, 40))
    assert grids["LTXV"](model(), guided) == grid(4, 20, 0)
