"""Names of the original programs: what they hold, against diffusers' conversions of dictionaries of tensors."""

import json
import sys
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLHunyuanVideo, AutoencoderKLWan, HunyuanVideoTransformer3DModel, WanTransformer3DModel
from diffusers.loaders import single_file_utils

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import original_files  # noqa: E402


def on_meta(kind, **config):
    with torch.device("meta"):
        model = kind(**config)
    # Rows that tell their number: all that a conversion moves.
    return {
        key: torch.arange(100.0 * i, 100.0 * i + t.shape[0])[:, None] if t.ndim else torch.full((), 100.0 * i)
        for i, (key, t) in enumerate(model.state_dict().items(), 1)
    }


@pytest.fixture
def by_names(run, tmp_path):
    """What this project makes of tensors under original names."""

    def by_names(part, original, number):
        (tmp_path / "keys.json").write_text(json.dumps(list(original)))
        named = json.loads(run("eav_probe", "names", part, tmp_path / "keys.json", "--number", number))
        pieces = {}
        for key, tensor in original.items():
            for piece in named[key]:
                begin, end, at = piece["begin"], piece["end"], piece["at"]
                pieces.setdefault(piece["key"], {})[at] = tensor[begin:end] if tensor.ndim else tensor
        for key, rows in pieces.items():  # each begins where the one before it ends
            assert list(sorted(rows)) == [0, *torch.tensor([len(rows[at]) for at in sorted(rows)]).cumsum(0).tolist()][:-1] \
                if len(rows) > 1 else list(rows) == [0]  # fmt: skip
        return {key: torch.cat([rows[at] for at in sorted(rows)]) if len(rows) > 1 else rows[0] for key, rows in pieces.items()}

    return by_names


def equal(a, b):
    assert a.keys() == b.keys(), sorted(a.keys() ^ b.keys())[:5]
    return all(torch.equal(a[key], b[key]) for key in a)


IMAGE = {"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120}


@pytest.mark.parametrize("config", [{}, IMAGE, {**IMAGE, "pos_embed_seq_len": 514}], ids=["t2v", "i2v", "flf2v"])
def test_wan_transformer(by_names, config):
    state = {k: t for k, t in on_meta(WanTransformer3DModel, num_layers=12, **config).items() if "norm_added_q" not in k}
    original = original_files.wan_transformer(state)
    assert "blocks.11.cross_attn.o.bias" in original and "head.modulation" in original
    converted = single_file_utils.convert_wan_transformer_to_diffusers(dict(original))
    if "pos_embed_seq_len" in config:  # the conversion does not know it
        converted["condition_embedder.image_embedder.pos_embed"] = converted.pop("img_emb.emb_pos")
    assert equal(converted, state)
    assert equal(by_names("wan-transformer", original, 0), converted)
    assert equal(by_names("wan-transformer", state, 0), state)  # those are left alone


def test_wan_vae(by_names):
    state = on_meta(AutoencoderKLWan)
    original = original_files.wan_vae(state)
    converted = single_file_utils.convert_wan_vae_to_diffusers(dict(original))
    assert equal(converted, state)
    assert equal(by_names("wan-vae", original, 0), converted)
    assert equal(by_names("wan-vae", state, 0), state)


def test_wan_vae_of_2_2(by_names):
    """diffusers has no conversion: names as Wan2.2's modules have them."""
    state = on_meta(AutoencoderKLWan, is_residual=True, patch_size=2, in_channels=12, out_channels=12, z_dim=48,
                    base_dim=160, decoder_base_dim=256, scale_factor_spatial=16, latents_mean=[0.0] * 48,
                    latents_std=[1.0] * 48)  # fmt: skip
    original = original_files.wan_vae(state)
    for key in ("encoder.downsamples.0.downsamples.2.resample.1.weight", "decoder.upsamples.1.upsamples.3.time_conv.bias",
                "encoder.downsamples.3.downsamples.1.residual.6.weight", "decoder.upsamples.2.upsamples.0.shortcut.weight",
                "decoder.middle.1.to_qkv.weight", "encoder.head.2.bias", "conv2.weight"):  # fmt: skip
        assert key in original
    assert not any("_block" in key or "resnets" in key for key in original)
    assert equal(by_names("wan-vae", original, 1), state)
    assert equal(by_names("wan-vae", state, 1), state)


@pytest.mark.parametrize("comfy", [False, True])
def test_hunyuan_video_transformer(by_names, comfy):
    """The conversion counts on 3072 channels."""
    state = on_meta(HunyuanVideoTransformer3DModel, num_layers=2, num_single_layers=12)
    original = original_files.hunyuan_transformer(state)
    assert original["single_blocks.11.linear1.weight"].shape[0] == 7 * 3072
    converted = single_file_utils.convert_hunyuan_video_transformer_to_diffusers(dict(original))
    assert equal(converted, state)
    if comfy:
        original = original_files.hunyuan_transformer(state, comfy=True)
        assert "double_blocks.1.img_attn.norm.query_norm.scale" in original and "vector_in.in_layer.bias" in original
    assert equal(by_names("hunyuan-video-transformer", original, 3072), converted)
    assert equal(by_names("hunyuan-video-transformer", state, 3072), state)


def test_hunyuan_video_vae(by_names):
    """diffusers has no conversion: names as ComfyUI's modules have them; the original's are diffusers'."""
    state = on_meta(AutoencoderKLHunyuanVideo)
    original = original_files.hunyuan_vae(state)
    for key in ("encoder.down.0.downsample.conv.conv.weight", "decoder.up.3.block.2.conv2.conv.bias",
                "decoder.up.1.block.0.nin_shortcut.conv.weight", "encoder.mid.attn_1.proj_out.weight",
                "decoder.mid.block_2.norm1.weight", "decoder.norm_out.bias", "quant_conv.weight"):  # fmt: skip
        assert key in original
    squeezed = {key: t.flatten(1) for key, t in original.items()}
    assert equal(by_names("hunyuan-video-vae", squeezed, 0), {k: t.flatten(1) for k, t in state.items()})
    assert equal(by_names("hunyuan-video-vae", state, 0), state)
