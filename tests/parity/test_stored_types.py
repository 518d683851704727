"""Files of tensors in every stored type, against the package `gguf`, PyTorch and diffusers: what they write is read, what
`eav convert` writes they read, and videos are made of both."""

import json
import shutil
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
import safetensors.torch
import torch
from comparing import error, options
from diffusers import WanTransformer3DModel
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from original_files import hunyuan_transformer  # noqa: E402
from tiny_hunyuan_video import save_tiny_hunyuan_video  # noqa: E402
from tiny_wan import save_tiny_wan  # noqa: E402

TYPES = gguf.GGMLQuantizationType
PACKED = [TYPES.Q8_0, TYPES.Q4_0, TYPES.Q4_1, TYPES.Q5_0, TYPES.Q5_1, TYPES.Q2_K, TYPES.Q3_K, TYPES.Q4_K, TYPES.Q5_K,
          TYPES.Q6_K, TYPES.IQ4_NL, TYPES.IQ4_XS]  # fmt: skip
QUANTISED = [TYPES.F32, TYPES.F16, TYPES.BF16, TYPES.Q8_0, TYPES.Q4_0, TYPES.Q4_1, TYPES.Q5_0, TYPES.Q5_1]


@pytest.fixture
def read(run, tmp_path):
    """read(file): the tensors for each instruction set of this machine, and the file's table."""

    def read(file):
        out = tmp_path / "read"
        out.mkdir(exist_ok=True)
        table = json.loads(run("eav_probe", "tensors", file, "--out", out))
        return [safetensors.torch.load_file(f) for f in sorted(out.glob("*.safetensors"))], table

    return read


def same(found, expected):
    """Bit for bit, NaN for NaN."""
    expected = torch.as_tensor(expected)
    assert found.shape == expected.shape
    numbers = ~expected.isnan()
    return torch.equal(found.isnan(), ~numbers) and torch.equal(
        found[numbers].view(torch.int32), expected[numbers].view(torch.int32)
    )


def test_random_blocks_of_every_packing(read, tmp_path):
    random = np.random.default_rng(1)
    writer, expected = gguf.GGUFWriter(tmp_path / "x.gguf", "wan"), {}
    for packing in PACKED:
        elements, size = gguf.GGML_QUANT_SIZES[packing]
        blocks = random.integers(0, 256, (6, 1024 // elements * size), dtype=np.uint8)
        with np.errstate(all="ignore"):
            expected[packing.name] = gguf.quants.dequantize(blocks, packing)
        writer.add_tensor(packing.name, blocks, raw_dtype=packing)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found, table = read(tmp_path / "x.gguf")
    assert len(found) >= 2  # instruction sets
    assert table["types"] == {name: name.lower() for name in expected}
    for tensors in found:
        assert [name for name, values in expected.items() if not same(tensors[name], values)] == []


def test_files_of_the_package(read, tmp_path):
    random = np.random.default_rng(2)
    writer, expected = gguf.GGUFWriter(tmp_path / "x.gguf", "hyvid"), {}
    writer.add_uint32("small", 7)
    writer.add_int32("below", -7)
    writer.add_float32("half", 0.5)
    writer.add_bool("yes", True)
    writer.add_array("words", ["one", "", "zwei"])
    writer.add_array("numbers", [3, -4])
    writer.add_array("halves", [0.5, 1.5])
    for packing in QUANTISED:
        values = random.standard_normal((3, 5, 64), dtype=np.float32)
        data = gguf.quants.quantize(values, packing)
        expected[packing.name] = gguf.quants.dequantize(data, packing)
        writer.add_tensor(packing.name, data, raw_dtype=packing)
    values = random.standard_normal((4, 1, 8), dtype=np.float32)
    writer.add_array("comfy.gguf.orig_shape.reshaped", [4, 1, 8])
    writer.add_tensor("reshaped", gguf.quants.quantize(values.reshape(1, 32), TYPES.Q8_0), raw_dtype=TYPES.Q8_0)
    expected["reshaped"] = gguf.quants.dequantize(gguf.quants.quantize(values.reshape(1, 32), TYPES.Q8_0), TYPES.Q8_0)
    expected["reshaped"] = expected["reshaped"].reshape(4, 1, 8)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found, table = read(tmp_path / "x.gguf")
    for tensors in found:
        assert [name for name, values in expected.items() if not same(tensors[name], values)] == []
    values = table["values"]
    assert values["general.architecture"] == "hyvid"
    assert [values[k] for k in ("small", "below", "half", "yes")] == [7, -7, 0.5, True]
    assert (values["words"], values["numbers"], values["halves"]) == (["one", "", "zwei"], [3, -4], [0.5, 1.5])
    assert table["types"]["F16"] == "float16" and table["types"]["reshaped"] == "q8_0"


def regular_hadamard(size):
    of_four = torch.tensor([[1, 1, 1, -1], [1, 1, -1, 1], [1, -1, 1, 1], [-1, 1, 1, 1]], dtype=torch.float64) / 2
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while len(matrix) < size:
        matrix = torch.kron(matrix, of_four)
    return matrix


def as_json(**told):
    return torch.frombuffer(bytearray(json.dumps(told).encode()), dtype=torch.uint8)


def test_float8_and_int8_of_comfyui(read, tmp_path):
    every = torch.arange(256, dtype=torch.uint8).view(4, 64)
    weight = torch.randn(8, 64, generator=torch.Generator().manual_seed(3))
    stored = weight.to(torch.float8_e4m3fn)
    rotated = weight.double() @ torch.block_diag(*[regular_hadamard(16)] * 4)
    row_scale = rotated.abs().amax(1, keepdim=True) / 127
    quants = (rotated / row_scale).round().clamp(-127, 127)
    tensors = {
        "e4m3": every.view(torch.float8_e4m3fn),
        "e5m2": every.view(torch.float8_e5m2),
        "scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn),
        "a.weight": stored,
        "a.scale_weight": torch.tensor(0.3),
        "a.scale_input": torch.tensor(0.5),
        "b.weight": stored.to(torch.float8_e5m2),
        "b.weight_scale": torch.tensor([0.7]),
        "b.comfy_quant": as_json(format="float8_e5m2"),
        "c.weight": quants.to(torch.int8),
        "c.weight_scale": row_scale.float(),
        "c.comfy_quant": as_json(format="int8_tensorwise", convrot=True, convrot_groupsize=16),
        "d.weight": stored,
    }
    tensors = {key: tensor.clone() for key, tensor in tensors.items()}
    safetensors.torch.save_file(tensors, tmp_path / "x.safetensors")
    for found in read(tmp_path / "x.safetensors")[0]:
        assert same(found["e4m3"], tensors["e4m3"].float()) and same(found["e5m2"], tensors["e5m2"].float())
        assert same(found["a.weight"], stored.float() * 0.3) and same(found["d.weight"], stored.float())
        assert same(found["b.weight"], tensors["b.weight"].float() * 0.7)
        dequantised = (quants * row_scale.float().double()) @ torch.block_diag(*[regular_hadamard(16)] * 4)
        assert (found["c.weight"] - dequantised).abs().max() < 1e-6 * weight.abs().max()
        assert (found["c.weight"] - weight).abs().max() < 0.02 * weight.abs().max()


def test_broken_quantised_layers(run, tmp_path):
    def fails(**beside):
        safetensors.torch.save_file({"a.weight": torch.zeros(8, 64, dtype=torch.int8), **beside}, tmp_path / "x.safetensors")
        message = run("eav_probe", "tensors", tmp_path / "x.safetensors", "--out", tmp_path, fails=True).decode()
        assert "x.safetensors" in message and message.count("\n") == 1
        return message

    def told(**fields):
        return {"a.comfy_quant": as_json(**fields)}

    assert "floating point" in fails()
    assert "nvfp4" in fails(**told(format="nvfp4"))
    assert '"format"' in fails(**told(other=1))
    assert '"format"' in fails(**{"a.comfy_quant": torch.tensor([1, 2], dtype=torch.uint8)})
    assert "int8" in fails(**told(format="float8_e4m3fn"))
    for group in (48, 0, -4, 256, "16", 2):
        assert "convrot_groupsize" in fails(**told(format="int8_tensorwise", convrot=True, convrot_groupsize=group))
    assert "3 elements" in fails(**told(format="int8_tensorwise"), **{"a.weight_scale": torch.ones(3)})


# ---- a tiny Wan: rows of 256 and of 32 elements ----------------------------------------------------------------------

TRANSFORMER = {"num_attention_heads": 2, "attention_head_dim": 128, "ffn_dim": 512}
STEM = "diffusion_pytorch_model"


@pytest.fixture(scope="module")
def wan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wan")
    return folder, save_tiny_wan(folder, transformer=TRANSFORMER)


@pytest.fixture
def with_transformer(wan, tmp_path):
    """with_transformer(file): the checkpoint with another file of its transformer's weights."""

    def copy(file):
        folder = tmp_path / "model"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(wan[0], folder)
        (folder / "transformer" / f"{STEM}.safetensors").unlink()
        shutil.copy(file, folder / "transformer" / f"{STEM}{file.suffix}")
        return folder

    return copy


def read_gguf(file):
    """The tensors of a file, as the package reads them, in float32."""
    reader = gguf.GGUFReader(file)
    shapes = {
        name.removeprefix("comfy.gguf.orig_shape."): [int(field.parts[i][0]) for i in field.data]
        for name, field in reader.fields.items()
        if name.startswith("comfy.gguf.orig_shape.")
    }
    found = {}
    for tensor in reader.tensors:
        values = np.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        shape = shapes.get(tensor.name, [int(n) for n in reversed(tensor.shape)])
        found[tensor.name] = (tensor.tensor_type.name, torch.from_numpy(values).view(shape))
    return reader, found


@pytest.fixture
def latents(run, tmp_path):
    def generate(folder, *more):
        file = tmp_path / "latents.safetensors"
        size = options(width=96, height=64, frames=9, steps=3, seed=7, threads=1, negative_prompt="blue")
        run("eav", "generate", "a red circle", "--model", folder, "--overwrite", "--no-enhance", "--latents-only",
            "--save-latents", file, *size, *more)  # fmt: skip
        return safetensors.torch.load_file(file)["latents"]

    return generate


def in_diffusers_names(file):
    """The file, whose keys are Wan's own, with diffusers' keys beside it, and the two keys of every tensor."""
    out = file.with_stem("renamed")
    if file.suffix == ".gguf":
        reader = gguf.GGUFReader(file)
        stored = {tensor.name: tensor for tensor in reader.tensors}
    else:
        stored = safetensors.torch.load_file(file)
    numbers = {key: torch.tensor(i) for i, key in enumerate(stored)}
    keys = {new: list(stored)[i] for new, i in convert_wan_transformer_to_diffusers(dict(numbers)).items()}
    if file.suffix == ".gguf":
        writer = gguf.GGUFWriter(out, "wan")
        for key, original in keys.items():
            writer.add_tensor(key, stored[original].data, raw_dtype=stored[original].tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    else:
        safetensors.torch.save_file({key: stored[original] for key, original in keys.items()}, out)
    return out, keys


def by_diffusers(pipeline, tensors):
    plain = pipeline.transformer
    pipeline.transformer = WanTransformer3DModel.from_config(plain.config).eval()
    pipeline.transformer.load_state_dict(tensors)
    try:
        return pipeline(prompt="a red circle", negative_prompt="blue", width=96, height=64, num_frames=9,
                        num_inference_steps=3, generator=torch.Generator("cpu").manual_seed(7),
                        output_type="latent").frames  # fmt: skip
    finally:
        pipeline.transformer = plain


@pytest.mark.parametrize("kind", ["q8_0", "q4_k", "fp8", "bfloat16"])
def test_convert(run, wan, with_transformer, latents, tmp_path, kind):
    suffix = "safetensors" if kind in ("fp8", "bfloat16") else "gguf"
    run("eav", "convert", wan[0], "--type", kind, "--out", tmp_path / f"x.{suffix}")
    names = [f"x-text_encoder.{suffix}", f"x-transformer.{suffix}", "x-vae.safetensors"]
    assert sorted(f.name for f in tmp_path.glob("x-*")) == names
    written, plain = tmp_path / f"x-transformer.{suffix}", wan[1].transformer.state_dict()
    if suffix == "gguf":
        reader, found = read_gguf(written)
        assert reader.fields["general.architecture"].contents() == "wan"
        types = {name: of for name, (of, _) in found.items()}
        tensors = {name: values for name, (_, values) in found.items()}
    else:
        stored = safetensors.torch.load_file(written)
        types = {name: str(values.dtype).removeprefix("torch.") for name, values in stored.items()}
        tensors = {name: values.float() for name, values in stored.items()}
    # In Wan's own names, as diffusers reads them.
    assert "blocks.0.self_attn.q.weight" in tensors and "head.modulation" in tensors
    renamed, keys = in_diffusers_names(written)
    types, tensors = ({key: of[original] for key, original in keys.items()} for of in (types, tensors))
    assert {n: t.shape for n, t in tensors.items()} == {n: t.shape for n, t in plain.items()}
    most = {"q8_0": 0.01, "q4_k": 0.08, "fp8": 0.04, "bfloat16": 0.003}[kind]
    assert [n for n, t in tensors.items() if (t - plain[n]).norm() > most * plain[n].norm()] == []
    names = {"q8_0": ("Q8_0", "Q8_0"), "q4_k": ("Q4_K", "Q8_0"), "fp8": ("float8_e4m3fn",) * 2, "bfloat16": ("bfloat16",) * 2}
    assert types["blocks.0.ffn.net.2.weight"] == names[kind][0]  # rows of 512
    assert types["condition_embedder.time_embedder.linear_1.weight"] == names[kind][1]  # of 32
    assert types["patch_embedding.weight"] in ("BF16", "bfloat16")
    for key in ("scale_shift_table", "blocks.1.scale_shift_table", "blocks.0.attn1.norm_q.weight", "proj_out.bias"):
        assert types[key] in ("F32", "float32")
    if kind == "q8_0":
        key = "blocks.0.attn1.to_q.weight"
        expected = gguf.quants.quantize(plain[key].numpy(), TYPES.Q8_0)
        assert same(tensors[key], gguf.quants.dequantize(expected, TYPES.Q8_0))

    folder = with_transformer(renamed)
    ours = latents(folder)
    assert error(ours, by_diffusers(wan[1], tensors)) < 1e-4
    if kind == "fp8":  # the text encoder too
        stem = folder / "text_encoder" / "model.safetensors"
        shutil.copy(tmp_path / "x-text_encoder.safetensors", stem)
        assert 0 < error(latents(folder), ours) < 0.2
    if kind == "q4_k":
        assert torch.equal(latents(folder, "--offload"), ours)
        assert error(latents(folder, "--dtype", "bfloat16"), ours) < 0.2
        shown = run("eav", "inspect", folder).decode()
        assert "q4_k" in shown and "q8_0" in shown


@pytest.mark.parametrize("packing", [TYPES.Q4_0, TYPES.Q5_1, TYPES.F16], ids=lambda t: t.name)
def test_transformer_that_the_package_writes(wan, with_transformer, latents, tmp_path, packing):
    writer, tensors = gguf.GGUFWriter(tmp_path / "x.gguf", "wan"), {}
    for key, tensor in wan[1].transformer.state_dict().items():
        of = packing if tensor.dim() == 2 and tensor.shape[1] % 32 == 0 else TYPES.F32
        data, axes = gguf.quants.quantize(tensor.numpy(), of), list(tensor.shape)
        tensors[key] = torch.from_numpy(np.array(gguf.quants.dequantize(data, of))).view(axes)
        # As stable-diffusion.cpp has it: four axes.
        writer.add_tensor(key, data.reshape(-1, *data.shape[2:]) if len(axes) == 5 else data, raw_dtype=of)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert error(latents(with_transformer(tmp_path / "x.gguf")), by_diffusers(wan[1], tensors)) < 1e-4


def test_convert_joins_what_is_one_tensor_in_original_names(run, tmp_path):
    pipeline = save_tiny_hunyuan_video(tmp_path / "model")
    run("eav", "convert", tmp_path / "model", "--type", "bfloat16", "--out", tmp_path / "x.safetensors")
    found = safetensors.torch.load_file(tmp_path / "x-transformer.safetensors")
    expected = hunyuan_transformer(pipeline.transformer.state_dict(), comfy=True)
    assert found.keys() == expected.keys()
    assert [k for k, t in expected.items() if not torch.equal(found[k], t.to(found[k].dtype))] == []


def test_what_convert_refuses(run, wan, tmp_path):
    def fails(*more, out="x.gguf", kind="q8_0", model=wan[0]):
        message = run("eav", "convert", model, "--type", kind, "--out", tmp_path / out, *more, fails=True).decode()
        assert message.count("\n") == 1 and not list(tmp_path.glob("x*"))
        return message

    assert "q4_k" in fails(kind="q3_k")
    assert ".safetensors" in fails(kind="fp8")
    assert ".gguf" in fails(out="x.safetensors")
    assert ".gguf" in fails(out="x.bin")
    assert "nowhere" in fails(out="nowhere/x.gguf")
    (tmp_path / "y-vae.safetensors").touch()
    assert "y-vae.safetensors" in fails(out="y.gguf")
