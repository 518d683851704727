"""The operators against the plain formula in float64, under autograd, torch.compile and torch.export."""

import enhance_a_video as eav
import pytest
import torch
from python_pipelines import reference_cfi, reference_map

FRAMES = 13


def pair(dtype=torch.float32, batch=2, heads=3, frames=FRAMES, positions=7, dim=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, heads, frames * positions, dim)
    return [torch.randn(shape, generator=generator).to(dtype) for _ in range(2)]


def relative(found, expected):
    return ((found.double() - expected).abs() / expected.abs()).max().item()


@pytest.mark.parametrize("dtype, bound", [(torch.float32, 2e-6), (torch.bfloat16, 1e-3), (torch.float16, 1e-3)])
@pytest.mark.parametrize("frames", [2, 5, 13, 33])
def test_cfi_is_the_formula(dtype, bound, frames):
    query, key = pair(dtype, frames=frames)
    assert relative(eav.cfi(query, key, frames), reference_cfi(query, key, frames).mean(1)) < bound


@pytest.mark.parametrize("strided", [False, True])  # by the kernel, and by PyTorch's operators
def test_autocast_changes_nothing(strided):
    query, key = (torch.stack([t, t], -1)[..., 0] if strided else t for t in pair())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = eav.cfi(query, key, FRAMES)
    assert relative(found, reference_cfi(query, key, FRAMES).mean(1)) < 2e-6


def test_gain_is_one_at_least():
    query, key = pair()
    expected = (reference_cfi(query, key, FRAMES).mean(1) * (FRAMES + 3.4)).clamp_min(1)
    assert expected.min() > 1
    assert relative(eav.gain(query, key, frames=FRAMES, weight=3.4), expected) < 2e-6
    same = 8 * torch.nn.functional.one_hot(torch.arange(FRAMES), 64).float().expand(1, 1, -1, -1)
    assert eav.gain(same, same, frames=FRAMES).item() == 1
    assert eav.gain(query, key, frames=1).tolist() == [1, 1]


def test_attention_map_is_the_formula():
    query, key = pair()
    expected = reference_map(query, key, FRAMES).mean(2)
    torch.testing.assert_close(eav.attention_map(query, key, frames=FRAMES).double(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("function", [eav.cfi, eav.gain, eav.attention_map])
def test_layout_and_text_tokens(function):
    query, key = pair()
    expected = function(query, key, FRAMES)
    text = torch.randn(2, 3, 4, 64)
    around = [torch.cat([text, t, text[:, :, :2]], dim=2) for t in (query, key)]
    assert torch.equal(function(*around, FRAMES, text_first=4, text_last=2), expected)
    swapped = [t.transpose(1, 2).contiguous() for t in around]
    found = function(*swapped, FRAMES, layout="blhd", text_first=4, text_last=2)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match="layout"):
        function(query, key, FRAMES, layout="lbhd")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_nan_in_nan_out(dtype, value):
    query, key = pair(dtype)
    query[1, 2, 40, 5] = value
    found = eav.gain(query, key, frames=FRAMES)
    assert found[0].isfinite() and found[1].isnan()


def test_errors_name_the_shapes():
    query, key = pair()
    with pytest.raises(RuntimeError, match="91 tokens do not divide into 12 frames"):
        eav.cfi(query, key, frames=12)
    with pytest.raises(RuntimeError, match="one shape"):
        eav.cfi(query, key[:, :2], frames=FRAMES)


def test_gradient_is_refused_at_backward_only():
    query, key = (t.requires_grad_() for t in pair())
    cfi = eav.cfi(query, key, frames=FRAMES)
    assert cfi.requires_grad
    with pytest.raises(RuntimeError, match="no gradient"):
        cfi.sum().backward()


@pytest.mark.parametrize("name", ["cfi", "cfi_per_head", "attention_map"])
def test_operator_registration(name):
    query, key = pair(positions=2)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(getattr(torch.ops.eav, name).default, (query, key, FRAMES), test_utils=checks)


def test_compiled_graph_is_whole():
    query, key = pair()
    function = lambda q, k: eav.gain(q, k, frames=FRAMES) + eav.attention_map(q, k, frames=FRAMES).mean()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(query, key), function(query, key))
    # With gradients recorded as well: compiling must not run into the refusal.
    torch.testing.assert_close(compiled(query.requires_grad_(), key).detach(), function(query, key).detach())


def test_export_keeps_the_operator():
    class Gain(torch.nn.Module):
        def forward(self, query, key):
            return eav.gain(query, key, frames=FRAMES)

    query, key = pair()
    batch = torch.export.Dim("batch", min=1, max=8)
    program = torch.export.export(Gain(), (query, key), dynamic_shapes=({0: batch}, {0: batch}))
    assert any(node.target is torch.ops.eav.cfi.default for node in program.graph.nodes)
    three = pair(batch=3)
    torch.testing.assert_close(program.module()(*three), eav.gain(*three, frames=FRAMES))
