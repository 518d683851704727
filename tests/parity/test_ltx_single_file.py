"""LTX-Video's original single files against folders that diffusers' own conversion functions make of them."""

import inspect
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from comparing import options
from diffusers import (
    AutoencoderKLLTXVideo,
    FlowMatchEulerDiscreteScheduler,
    LTXConditionPipeline,
    LTXPipeline,
    LTXVideoTransformer3DModel,
)
from diffusers.loaders.single_file_utils import (
    convert_ltx_transformer_checkpoint_to_diffusers,
    convert_ltx_vae_checkpoint_to_diffusers,
)
from diffusers.pipelines.ltx.pipeline_ltx_condition import linear_quadratic_schedule
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tiny import randomize, tiny_text_encoder, tiny_tokenizer  # noqa: E402

PREFIX = "model.diffusion_model."
STAGES = {"use_dynamic_shifting": True, "base_shift": 0.95, "max_shift": 2.05, "base_image_seq_len": 1024,
          "max_image_seq_len": 4096, "shift_terminal": 0.1}  # fmt: skip

# Published layers at tiny widths, for files without metadata.
EARLY_ENCODER = {"block_out_channels": (4, 8, 12, 12), "layers_per_block": (4, 3, 3, 3, 4)}
VAES = {
    "0.9.0": {**EARLY_ENCODER, "decoder_block_out_channels": (4, 8, 12, 12)},
    "0.9.1": {
        **EARLY_ENCODER,
        "decoder_block_out_channels": (16, 32, 64),
        "decoder_layers_per_block": (5, 6, 7, 8),
        "decoder_spatio_temporal_scaling": (True,) * 3,
        "decoder_inject_noise": (True, True, True, False),
        "upsample_residual": (True,) * 3,
        "upsample_factor": (2,) * 3,
        "timestep_conditioning": True,
    },
    "0.9.5": {  # its last 2048 channels are what it is known by; layers are in the metadata
        "block_out_channels": (8, 16, 32, 256, 2048),
        "layers_per_block": (1, 2, 1, 1, 0),
        "down_block_types": ("LTXVideo095DownBlock3D",) * 4,
        "downsample_type": ("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
        "spatio_temporal_scaling": (True,) * 4,
        "spatial_compression_ratio": 32,
        "temporal_compression_ratio": 8,
        "decoder_block_out_channels": (16, 32, 64),
        "decoder_layers_per_block": (2, 1, 1, 2),
        "decoder_spatio_temporal_scaling": (True,) * 3,
        "decoder_inject_noise": (False,) * 4,
        "upsample_residual": (True,) * 3,
        "upsample_factor": (2,) * 3,
        "timestep_conditioning": True,
    },
}
METADATA = {
    "transformer": {"_class_name": "Transformer3DModel", "num_attention_heads": 4, "attention_head_dim": 16,
                    "norm_eps": 1e-6, "qk_norm": "rms_norm", "activation_fn": "gelu-approximate"},
    "vae": {
        "_class_name": "CausalVideoAutoencoder",
        "encoder_blocks": [["res_x", {"num_layers": 1}], ["compress_space_res", {"multiplier": 2}],
                           ["res_x", {"num_layers": 2}], ["compress_time_res", {"multiplier": 2}],
                           ["res_x", {"num_layers": 1}], ["compress_all_res", {"multiplier": 8}],
                           ["res_x", {"num_layers": 1}], ["compress_all_res", {"multiplier": 8}],
                           ["res_x", {"num_layers": 0}]],
        "decoder_blocks": [["res_x", {"num_layers": 2, "inject_noise": False}],
                           ["compress_all", {"residual": True, "multiplier": 2}],
                           ["res_x", {"num_layers": 1}], ["compress_all", {"residual": True, "multiplier": 2}],
                           ["res_x", {"num_layers": 1}], ["compress_all", {"residual": True, "multiplier": 2}],
                           ["res_x", {"num_layers": 2}]],
        "scaling_factor": 1.0, "patch_size": 4, "causal_decoder": False, "timestep_conditioning": True,
    },
    "scheduler": {"_class_name": "RectifiedFlowScheduler", "num_train_timesteps": 1000, "shifting": None,
                  "base_resolution": None, "sampler": "LinearQuadratic"},
}  # fmt: skip

# Original numbers of the VAE's blocks; diffusers' conversion, which must find every tensor, is what checks them.
LATER_UP = {"mid_block": 0, **{f"up_blocks.{i}": 2 * i + 2 for i in range(3)},
            **{f"up_blocks.{i}.upsamplers.0": 2 * i + 1 for i in range(3)}}  # fmt: skip
NUMBERS = {
    "0.9.0": {"mid_block": 0, "up_blocks.0": 1, "up_blocks.1.upsamplers.0": 2, "up_blocks.1": 3, "up_blocks.2.conv_in": 4,
              "up_blocks.2.upsamplers.0": 5, "up_blocks.2": 6, "up_blocks.3.conv_in": 7, "up_blocks.3.upsamplers.0": 8,
              "up_blocks.3": 9},
    "0.9.1": LATER_UP, "0.9.5": LATER_UP,
}  # fmt: skip
EARLY_DOWN = {"down_blocks.0": 0, "down_blocks.0.downsamplers.0": 1, "down_blocks.0.conv_out": 2, "down_blocks.1": 3,
              "down_blocks.1.downsamplers.0": 4, "down_blocks.1.conv_out": 5, "down_blocks.2": 6,
              "down_blocks.2.downsamplers.0": 7, "down_blocks.3": 8, "mid_block": 9}  # fmt: skip
LATER_DOWN = {"mid_block": 8, **{f"down_blocks.{i}": 2 * i for i in range(4)},
              **{f"down_blocks.{i}.downsamplers.0": 2 * i + 1 for i in range(4)}}  # fmt: skip


def original_block(key, names, kind):
    name = max((n for n in names if key.startswith(n + ".")), key=len, default=None)
    return f"{kind}.{names[name]}{key[len(name) :]}" if name else key


def original_vae(state, generation):
    original = {}
    for key, tensor in state.items():
        side, _, rest = key.partition(".")
        if side == "encoder":
            key = f"encoder.{original_block(rest, LATER_DOWN if generation == '0.9.5' else EARLY_DOWN, 'down_blocks')}"
        elif side == "decoder":
            rest = original_block(rest, NUMBERS[generation], "up_blocks")
            if rest.startswith("time_embedder") or rest == "scale_shift_table":
                rest = f"last_{rest}"
            key = f"decoder.{rest}"
        for ours, theirs in (("resnets", "res_blocks"), ("norm3.", "norm3.norm."), ("conv_shortcut.conv", "conv_shortcut"),
                             ("latents_mean", "per_channel_statistics.mean-of-means"),
                             ("latents_std", "per_channel_statistics.std-of-means")):  # fmt: skip
            key = key.replace(ours, theirs)
        original[f"vae.{key}"] = tensor.contiguous()
    original["vae.per_channel_statistics.channel"] = torch.arange(6.0)
    original["vae.per_channel_statistics.mean-of-stds"] = torch.ones(6)
    return original


def original_transformer(state, prefix):
    names = (("proj_in", "patchify_proj"), ("time_embed.", "adaln_single."), ("norm_q", "q_norm"), ("norm_k", "k_norm"))
    original = {}
    for key, tensor in state.items():
        for ours, theirs in names:
            key = key.replace(ours, theirs)
        original[prefix + key] = tensor.contiguous()
    return original


def make(folder, generation, layers=28, prefix=PREFIX):
    """Writes file.safetensors and what diffusers' conversion makes of it, the folder `converted`."""
    told = METADATA if generation == "0.9.5" else None
    heads, head_dim = (4, 16) if told else (32, 2)
    transformer = {"in_channels": 6, "out_channels": 6, "num_attention_heads": heads, "attention_head_dim": head_dim,
                   "cross_attention_dim": 64, "num_layers": layers, "caption_channels": 24}  # fmt: skip
    vae = {"latent_channels": 6, **VAES[generation]}
    torch.manual_seed(0)
    models = randomize(LTXVideoTransformer3DModel(**transformer), seed=1), randomize(AutoencoderKLLTXVideo(**vae), seed=2)
    with torch.no_grad():
        models[1].latents_mean.normal_()
        models[1].latents_std.uniform_(0.5, 1.5)
    original = {
        **original_transformer(models[0].state_dict(), prefix),
        **original_vae(models[1].state_dict(), generation),
    }
    metadata = {"config": json.dumps(told)} if told else None
    safetensors.torch.save_file(original, folder / "file.safetensors", metadata=metadata)

    converted = LTXVideoTransformer3DModel(**transformer), AutoencoderKLLTXVideo(**vae)
    converted[0].load_state_dict(convert_ltx_transformer_checkpoint_to_diffusers(dict(original)), strict=True)
    converted[1].load_state_dict(convert_ltx_vae_checkpoint_to_diffusers(dict(original)), strict=True)
    tokenizer = tiny_tokenizer(folder / "converted" / "tokenizer")
    pipeline = LTXConditionPipeline if generation == "0.9.5" else LTXPipeline
    pipeline(
        tokenizer=tokenizer,
        text_encoder=tiny_text_encoder(len(tokenizer)),
        transformer=converted[0],
        vae=converted[1],
        scheduler=FlowMatchEulerDiscreteScheduler(**({} if generation == "0.9.5" else STAGES)),
    ).save_pretrained(folder / "converted")
    return folder


VARIANTS = {
    "0.9.0": {"generation": "0.9.0"},
    "0.9.1": {"generation": "0.9.1", "prefix": ""},
    "0.9.5": {"generation": "0.9.5"},
    "0.9.7": {"generation": "0.9.5", "layers": 48, "prefix": ""},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folders = {}

    def made(version):
        if version not in folders:
            folders[version] = make(tmp_path_factory.mktemp("single"), **VARIANTS[version])
        return folders[version]

    return made


@pytest.fixture
def generate(run, tmp_path):
    def generate(*where, **named):
        latents, frames = tmp_path / "latents.safetensors", tmp_path / "frames"
        named = {"seed": 3, "steps": 2, "threads": 1, "width": 64, "height": 64, "frames": 9, **named}
        run("eav", "generate", "a red circle", *where, "--overwrite", "--out", f"{frames}/", "--save-latents", latents,
            *options(**named))  # fmt: skip
        pictures = [np.asarray(Image.open(file)) for file in sorted(frames.glob("*.png"))]
        return safetensors.torch.load_file(latents)["latents"], np.stack(pictures)

    return generate


@pytest.mark.parametrize("version", VARIANTS)
def test_tensors_and_configurations(made, run, tmp_path, version):
    folder = made(version)
    told = json.loads(run("eav_probe", "single-file", folder / "file.safetensors", "--text-encoder", folder / "converted",
                          "--out", tmp_path / "tensors.safetensors"))  # fmt: skip
    ours = safetensors.torch.load_file(tmp_path / "tensors.safetensors")
    theirs = {
        f"{part}.{key}": tensor
        for part in ("transformer", "vae")
        for key, tensor in safetensors.torch.load_file(
            folder / "converted" / part / "diffusion_pytorch_model.safetensors"
        ).items()
    }
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert told["conditional"] == (version >= "0.9.5")
    for part, model in (("transformer", LTXVideoTransformer3DModel), ("vae", AutoencoderKLLTXVideo)):
        defaults = {name: p.default for name, p in inspect.signature(model.__init__).parameters.items()}
        config = {**defaults, **json.loads((folder / "converted" / part / "config.json").read_text())}
        known = {key: value for key, value in told[part].items() if not key.startswith("_")}
        assert known == {key: list(v) if isinstance(v := config[key], tuple) else v for key in known}


@pytest.mark.parametrize("version", VARIANTS)
def test_the_same_video(made, generate, version):
    folder = made(version)
    ours = generate("--model", folder / "file.safetensors", "--text-encoder", folder / "converted")
    theirs = generate("--model", folder / "converted")
    assert torch.equal(ours[0], theirs[0]) and np.array_equal(ours[1], theirs[1])
    assert ours[0].std() > 0.1 and ours[1].std() > 1


@pytest.mark.parametrize("version", ["0.9.0", "0.9.5"])
def test_the_same_video_from_an_image(made, generate, tmp_path, version):
    folder, image = made(version), tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(image)
    ours = generate("--model", folder / "file.safetensors", "--text-encoder", folder / "converted", "--image", image)
    theirs = generate("--model", folder / "converted", "--image", image)
    assert torch.equal(ours[0], theirs[0]) and np.array_equal(ours[1], theirs[1])


def test_each_part_in_a_file_of_its_own(made, run, generate, tmp_path):
    folder = made("0.9.1")
    tensors = safetensors.torch.load_file(folder / "file.safetensors")
    parts = {
        "transformer": {f"diffusion_model.{k}": t for k, t in tensors.items() if not k.startswith("vae.")},
        "vae": {k.removeprefix("vae."): t for k, t in tensors.items() if k.startswith("vae.")},
        "t5": safetensors.torch.load_file(folder / "converted" / "text_encoder" / "model.safetensors"),
    }
    for name, held in parts.items():
        safetensors.torch.save_file(held, tmp_path / f"{name}.safetensors")
    where = ("--model", tmp_path / "transformer.safetensors", "--vae", tmp_path / "vae.safetensors", "--text-encoder",
             tmp_path / "t5.safetensors", "--tokenizer", folder / "converted" / "tokenizer")  # fmt: skip
    ours, theirs = generate(*where), generate("--model", folder / "converted")
    assert torch.equal(ours[0], theirs[0]) and np.array_equal(ours[1], theirs[1])
    assert b"T5-XXL" in run("eav", "inspect", tmp_path / "t5.safetensors")
    assert b"the VAE of LTX-Video" in run("eav", "inspect", tmp_path / "vae.safetensors")


def test_without_metadata_layers_heads_and_scheduler_are_the_published_ones(made, run, tmp_path):
    """What the file does not tell is as diffusers' classes have it, whose defaults are those of 0.9.0."""
    told = json.loads(run("eav_probe", "single-file", made("0.9.0") / "file.safetensors", "--text-encoder",
                          made("0.9.0") / "converted", "--out", tmp_path / "t.safetensors"))  # fmt: skip
    assert told["transformer"]["num_layers"] == 28 and told["transformer"]["num_attention_heads"] == 32
    assert told["scheduler"].items() >= STAGES.items()


def test_layouts_of_the_text_encoder_and_records(made, run, generate, tmp_path):
    folder = made("0.9.0")
    theirs = generate("--model", folder / "converted")
    encoder, tokenizer = folder / "converted" / "text_encoder", folder / "converted" / "tokenizer"
    beside, within, together = (tmp_path / name for name in ("beside", "within", "together"))
    beside.mkdir(), within.mkdir(), together.mkdir()
    (beside / "t5").symlink_to(encoder)
    (beside / "tokenizer").symlink_to(tokenizer)
    for place in (within, together):
        for file in encoder.iterdir():
            (place / file.name).symlink_to(file)
    (within / "tokenizer").symlink_to(tokenizer)
    for file in tokenizer.iterdir():
        (together / file.name).symlink_to(file)
    for text in (encoder, beside / "t5", within, together):
        ours = generate("--model", folder / "file.safetensors", "--text-encoder", text)
        assert torch.equal(ours[0], theirs[0])

    record = json.loads((tmp_path / "frames.json").read_text())
    assert record["text_encoder"] == str(together) and record["model"] == str(folder / "file.safetensors")
    run("eav", "generate", "--from", tmp_path / "frames.json", "--out", f"{tmp_path}/again/")
    again = np.stack([np.asarray(Image.open(file)) for file in sorted((tmp_path / "again").glob("*.png"))])
    assert np.array_equal(again, theirs[1])
    said = run("eav", "inspect", folder / "file.safetensors", "--text-encoder", together, "--width", 64, "--height", 64)
    assert b"LTXVideoTransformer3DModel" in said and b"AutoencoderKLLTXVideo" in said


def test_distilled_files_have_steps_and_guidance_of_their_own(made, run, tmp_path):
    folder = made("0.9.5")
    tensors = safetensors.torch.load_file(folder / "file.safetensors")
    levels = [1.0, 0.9937, 0.9875, 0.9812, 0.975, 0.9094, 0.725, 0.4219]  # as the releases' metadata lists them

    def asked_for(model, *text):
        listed = json.loads(run("eav", "options", "--model", model, *text, "--json"))
        shown = run("eav", "inspect", model, *text, "--width", 64, "--height", 64, "--frames", 9).decode()
        defaults = {option["name"]: option["default"] for option in listed}
        return defaults["steps"], defaults["guidance"], "a distilled checkpoint: 8 steps" in shown

    text = ("--text-encoder", folder / "converted")
    told, named = tmp_path / "told.safetensors", tmp_path / "ltxv-2b-0.9.6-Distilled-04-25.safetensors"
    safetensors.torch.save_file(tensors, told, {"config": json.dumps({**METADATA, "allowed_inference_steps": levels})})
    with safetensors.safe_open(folder / "file.safetensors", "pt") as file:
        safetensors.torch.save_file(tensors, named, file.metadata())
    cached = tmp_path / "models--Lightricks--LTX-Video-0.9.7-distilled"
    shutil.copytree(folder / "converted", cached / "snapshots" / "0123")
    assert asked_for(told, *text) == asked_for(named, *text) == asked_for(cached) == (8, 1, True)
    assert asked_for(folder / "file.safetensors", *text) == asked_for(folder / "converted") == (50, 3, False)
    assert linear_quadratic_schedule(8).tolist() == pytest.approx(levels, abs=1e-4)  # what eight steps run


def test_bad_files(made, run, tmp_path):
    folder = made("0.9.1")
    tensors = safetensors.torch.load_file(folder / "file.safetensors")

    def fails(changed, *arguments, metadata=None):
        path = tmp_path / "bad.safetensors"
        safetensors.torch.save_file(changed, path, metadata=metadata)
        arguments = arguments or ("--text-encoder", folder / "converted")
        said = run("eav", "generate", "x", "--model", path, *arguments, "--out", tmp_path / "x.mp4", "--width", 64,
                   "--height", 64, "--frames", 1, "--steps", 2, fails=True).decode()  # fmt: skip
        assert not (tmp_path / "x.mp4").exists() and said.count("eav: ") == 1
        return said.splitlines()[-1]  # after the progress

    def without(*keys):
        return {key: tensor for key, tensor in tensors.items() if not key.startswith(keys)}

    whole = "transformer_blocks.3.attn1.to_q.weight"
    assert "has no VAE" in fails(without("vae."))
    assert "has no transformer" in fails({k: t for k, t in tensors.items() if k.startswith("vae.")})
    assert f'"{whole}"' in fails(without(whole))
    assert '"vae.encoder.conv_out.conv.weight" is missing' in fails(without("vae.encoder.conv_out"))
    assert "holds no part of a model that is known" in fails({"some.weight": torch.ones(2)})
    assert "belongs to no layer" in fails({**tensors, "transformer_blocks.0.stranger": torch.ones(2)})
    assert "metadata is no JSON" in fails(tensors, metadata={"config": "{"})
    assert "res_z" in fails(tensors, metadata={"config": json.dumps({"vae": {"decoder_blocks": [["res_z", {}]]}})})
    assert "shifting" in fails(tensors, metadata={"config": json.dumps({"scheduler": {"shifting": "Other"}})})
    assert "--text-encoder" in fails(tensors, "--seed", 1)
    assert "holds no text encoder" in fails(tensors, "--text-encoder", tmp_path)
    said = run("eav", "generate", "x", "--model", folder / "converted", "--text-encoder", folder, fails=True)
    assert b"leave --text-encoder out" in said
