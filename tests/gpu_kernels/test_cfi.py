"""The Triton kernel: by Triton's interpreter on the CPU against the formula in float64, and compiled for GPUs.

What the CPU's kernel is tested with (tests/unit/kernels/cfi_test.cpp) is here too. Triton is not among the packages that
tests install: `.venv/bin/pip install triton==3.7.1`, the version that the CUDA build of PyTorch 2.13.0 asks for.
"""

import os

os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

import triton.language as tl
from triton.runtime import interpreter

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "integrations" / "comfyui"
TYPES = [torch.float32, torch.bfloat16, torch.float16]


def loaded(name, path, **more):
    spec = importlib.util.spec_from_file_location(name, path, **more)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


nodes = loaded("eav_nodes", FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)])
cfi_triton = nodes.formula.cfi_triton


@pytest.fixture(autouse=True)
def cpu(monkeypatch):
    """Tensors of the CPU are taken, and Triton's interpreter multiplies bfloat16 as such and not as integers."""
    monkeypatch.setattr(cfi_triton, "DEVICES", ("cpu",))
    multiply = interpreter.InterpreterBuilder.create_dot

    def widened(x):
        if x.dtype.scalar != tl.bfloat16:
            return x
        return interpreter.TensorHandle((x.data.astype("uint32") << 16).view("float32"), tl.float32)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot",
                        lambda self, a, b, *more: multiply(self, widened(a), widened(b), *more))  # fmt: skip


def pair(frames, size, positions=3, batch=2, heads=3, dtype=torch.float32):
    generator = torch.Generator().manual_seed(frames * 1000 + size)
    shape = batch, heads, frames * positions, size
    return [torch.randn(shape, generator=generator).to(dtype) for _ in "qk"]


def formula(query, key, frames):
    """[B, heads] in float64, with whole maps."""
    query, key = (x.double().unflatten(2, (frames, -1)).transpose(2, 3) for x in (query, key))
    maps = (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)
    return maps[..., ~torch.eye(frames, dtype=torch.bool)].mean((2, 3))


def relative(found, expected):
    return ((found.double() - expected).abs() / expected).max().item()


@pytest.mark.parametrize("size", [1, 40, 64, 128, 256])
@pytest.mark.parametrize("frames", [2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 16, 17, 21, 33, 66, 257])
def test_it_is_the_formula_for_many_shapes(frames, size):
    query, key = pair(frames, size, positions=3 if frames < 66 else 1)
    expected = formula(query, key, frames)
    assert relative(cfi_triton.cfi_per_head(query, key, frames), expected) < 2e-6
    assert relative(cfi_triton.cfi(query, key, frames), expected.mean(1)) < 2e-6


@pytest.mark.parametrize("dtype", TYPES[1:])
@pytest.mark.parametrize("frames", [2, 13, 33, 70])
def test_it_is_the_formula_in_16_bit(frames, dtype):
    query, key = pair(frames, 80, dtype=dtype)
    assert relative(cfi_triton.cfi_per_head(query, key, frames), formula(query, key, frames)) < 2e-6


@pytest.mark.parametrize("sharpness", [1.0, 1.5, 2.0])
def test_it_keeps_its_digits_when_maps_are_nearly_one_hot(sharpness):
    query, _ = pair(13, 64)
    key = query * sharpness
    assert relative(cfi_triton.cfi(query, key, 13), formula(query, key, 13).mean(1)) < 2e-6


def test_it_takes_large_scores():
    """Up to 1e6 from each other: all mass lies in one element, on the diagonal or off it."""
    query, key = (1e3 * x for x in pair(40, 64))
    assert relative(cfi_triton.cfi(query, key, 40), formula(query, key, 40).mean(1)) < 2e-6
    assert cfi_triton.cfi(query, query, 40).max() == 0


@pytest.mark.parametrize("in_query", [True, False])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", TYPES)
def test_nan_in_nan_out(dtype, value, in_query):
    query, key = pair(13, 64, dtype=dtype)
    (query if in_query else key)[1, 2, 38, 63] = value
    found = cfi_triton.cfi_per_head(query, key, 13)
    assert found[1, 2].isnan() and found.isnan().sum() == 1


@pytest.mark.parametrize("dtype", TYPES)
def test_it_reads_any_strides(dtype):
    query, key = pair(13, 64, positions=5, dtype=dtype)
    expected = cfi_triton.cfi_per_head(query, key, 13)
    heads_last = lambda x: x.transpose(1, 2).contiguous().transpose(1, 2)
    channels_apart = lambda x: x.mT.contiguous().mT
    among_others = lambda x: torch.cat([x, x], -1)[..., 64:]
    after_text = lambda x: torch.nn.functional.pad(x, (0, 0, 7, 2), value=float("nan"))[:, :, 7:72]
    same_for_all = lambda x: x[:1, :1].expand_as(x)
    for change in (heads_last, channels_apart, among_others, after_text):
        assert torch.equal(cfi_triton.cfi_per_head(change(query), key, 13), expected)
        assert torch.equal(cfi_triton.cfi_per_head(query, change(key), 13), expected)
    repeated = cfi_triton.cfi_per_head(same_for_all(query), same_for_all(key), 13)
    assert torch.equal(repeated, expected[:1, :1].expand_as(expected))


def test_it_makes_no_map_and_no_copy(monkeypatch):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Made(TorchDispatchMode):
        elements = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if not any(result.untyped_storage().data_ptr() == x.untyped_storage().data_ptr() for x in (query, key)):
                self.elements += result.numel()
            return result

    query, key = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in pair(13, 64, positions=5))
    kernel = cfi_triton.kernel()
    launched = []

    class Launch:
        def __getitem__(self, grid):
            return lambda *arguments, **options: launched.append((grid, arguments))

    monkeypatch.setattr(cfi_triton, "kernel", Launch)
    with Made() as made:
        cfi_triton.cfi(query, key, 13)
    (grid, arguments), = launched
    assert kernel is not None and grid == (2 * 3 * 5,)
    assert arguments[0] is query and arguments[1] is key
    assert made.elements <= 2 * 3 * 5 + 3 * 2 * 3  # a number of each map, and those of each head


def test_autocast_changes_nothing():
    query, key = pair(13, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert relative(cfi_triton.cfi_per_head(query, key, 13), formula(query, key, 13)) < 2e-6


def test_the_kernel_compiles_for_gpus():
    """To machine code, with nothing spilled, for the types and sizes of real layers; it loads 16 bytes at a time."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, Path(__file__).parent / "compile_cfi.py"], env=environment, check=False,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    lines = done.stdout.splitlines()
    assert len(lines) == 15
    for line in lines:
        told = dict(re.findall(r"(\w+)=(\d+)", line))
        assert told["spilled"] == "0" and int(told["shared"]) <= 48 << 10, line
        assert int(told["wide_loads"]) > 0 and told["narrow_loads"] == "0", line
        assert ("float32" in line) == (told["products"] == "0"), line  # 16-bit types by tensor cores


# ---- who is asked --------------------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch):
    """Numbers of calls of a kernel that does the same, or raises what `fails` holds."""

    class Counted:
        calls, fails = 0, None

        def __call__(self, query, key, frames):
            self.calls += 1
            if self.fails:
                raise self.fails
            return cfi_triton.cfi_per_head(query, key, frames).mean(1)

    return Counted()


def aten(query, key, frames):
    return torch.full((query.shape[0],), -1.0)


@pytest.mark.parametrize("change", [
    lambda q, k: (q.double(), k.double()), lambda q, k: (q, k.bfloat16()), lambda q, k: (q.long(), k.long()),
    lambda q, k: (q[0], k[0]), lambda q, k: (q, k[:, :2]), lambda q, k: (q[:, :, :-1], k[:, :, :-1]),
    lambda q, k: (q[:0], k[:0]), lambda q, k: (q.repeat(1, 1, 1, 5), k.repeat(1, 1, 1, 5)), lambda q, k: (q.to("meta"), k.to("meta")),
])  # fmt: skip
def test_others_answer_where_it_does_not_serve(counted, change):
    query, key = pair(13, 64)
    either = cfi_triton.or_else(counted, aten)
    assert (either(query, key, 13) > 0).all() and counted.calls == 1
    if (changed := change(query, key))[0].is_meta:
        assert not cfi_triton.serves(*changed, 13)
    else:
        assert (either(*changed, 13) == -1).all() and counted.calls == 1
    assert (either(query, key, 1) == -1).all() and counted.calls == 1


def test_others_answer_where_it_fails(counted, caplog):
    query, key = pair(13, 64)
    either = cfi_triton.or_else(counted, aten)
    counted.fails = torch.OutOfMemoryError("no memory for query and key themselves")
    with pytest.raises(torch.OutOfMemoryError):
        either(query, key, 13)
    counted.fails = RuntimeError("Failed to find C compiler.\nPlease specify via CC")
    for _ in range(3):
        assert (either(query, key, 13) == -1).all()
    assert counted.calls == 2
    (line,) = caplog.messages
    assert "Triton kernel does not run (Failed to find C compiler.), PyTorch computes the gains" in line


def test_others_answer_where_triton_is_missing(counted, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert (cfi_triton.or_else(counted, aten)(*pair(13, 64), 13) == -1).all() and counted.calls == 0


def test_the_nodes_ask_it(monkeypatch):
    query, key = pair(13, 64)
    by_other = nodes.formula.cfi_in_pieces(query, key, 13)
    nodes.formula.fastest.cache_clear()
    monkeypatch.setattr(nodes.formula, "operator", lambda: aten)
    found = nodes.formula.cfi(query, key, 13)
    torch.testing.assert_close(found, by_other, rtol=2e-6, atol=0)
    compiled = torch.compile(nodes.formula.cfi, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(query, key, 13), found)
    nodes.formula.fastest.cache_clear()


def test_the_package_asks_it(monkeypatch):
    eav = pytest.importorskip("enhance_a_video")
    package = eav.operators.cfi_triton
    query, key = (x.transpose(1, 2) for x in pair(13, 64))  # [B, L, heads, d]
    expected = eav.gain(query, key, 13, layout="blhd")
    launches = []
    kernel = package.kernel()
    monkeypatch.setattr(package, "kernel", lambda: launches.append(1) or kernel)
    monkeypatch.setattr(package, "DEVICES", ("cpu",))
    library = eav.operators.use_triton("CPU")
    try:
        gain = lambda *more: eav.gain(query, key, *more, layout="blhd")
        torch.testing.assert_close(gain(13), expected, rtol=2e-6, atol=0)
        per_head = torch.ops.eav.cfi_per_head(query.transpose(1, 2), key.transpose(1, 2), 13)
        torch.testing.assert_close(per_head.double(), formula(query.transpose(1, 2), key.transpose(1, 2), 13), rtol=2e-6, atol=0)
        assert len(launches) == 2
        with torch.autocast("cpu", dtype=torch.bfloat16):
            torch.testing.assert_close(gain(13), expected, rtol=2e-6, atol=0)
        assert torch.equal(torch.compile(gain, fullgraph=True, backend="aot_eager")(13), gain(13))
        with pytest.raises(RuntimeError, match="no gradient"):
            eav.cfi(query.transpose(1, 2).requires_grad_(), key.transpose(1, 2), 13).sum().backward()
        assert len(launches) == 6
        with pytest.raises(RuntimeError, match="39 tokens do not divide into 12 frames"):  # by the compiled operator
            gain(12)
        assert gain(1).tolist() == [1, 1]
        monkeypatch.setattr(package, "kernel", lambda: None)  # which cannot be launched
        assert torch.equal(gain(13), expected) and len(launches) == 6
    finally:
        library._destroy()
