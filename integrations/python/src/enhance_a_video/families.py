"""What differs between families: which layers are enhanced, and how a call's inputs tell the grid of tokens."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from . import processors


@dataclass(frozen=True)
class Family:
    processor: type
    attentions: Callable  # transformer -> its self-attentions over video tokens, in order
    grid: Callable  # (transformer, inputs of the call) -> T, T * S
    guidance_pair: bool  # the pipeline evaluates [uncond, cond] in one forward pass


def _cogvideox_attentions(transformer):
    return [block.attn1 for block in transformer.transformer_blocks]


def _cogvideox_grid(transformer, inputs):
    _, frames, _, height, width = inputs["hidden_states"].shape
    patch, patch_t = transformer.config.patch_size, transformer.config.patch_size_t or 1
    frames = (frames + patch_t - 1) // patch_t
    return frames, frames * (height // patch) * (width // patch)


def _hunyuan_video_attentions(transformer):
    blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
    return [block.attn for block in blocks]


def _hunyuan_video_grid(transformer, inputs):
    _, _, frames, height, width = inputs["hidden_states"].shape
    patch, patch_t = transformer.config.patch_size, transformer.config.patch_size_t
    return frames // patch_t, (frames // patch_t) * (height // patch) * (width // patch)


def _ltx_video_grid(transformer, inputs):
    if inputs.get("video_coords") is None:
        return inputs["num_frames"], inputs["hidden_states"].shape[1]
    return grid_of_coordinates(inputs["video_coords"][0])


def grid_of_coordinates(coordinates):
    """T and T * S of the grid that ends a sequence of tokens with coordinates [3, L] (time, height, width).

    Tokens that only condition may lie before the grid. Seen from the end, the grid lasts as long as whole frames of
    the same positions follow each other backwards in time.
    """
    time, positions = coordinates[0], coordinates[1:]
    other_times = (time != time[-1]).nonzero()
    size = len(time) - 1 - int(other_times[-1]) if len(other_times) else len(time)  # S
    whole = len(time) // size
    times = time[len(time) - whole * size :].view(whole, size)
    places = positions[:, len(time) - whole * size :].reshape(2, whole, size)
    fits = (times == times[:, :1]).all(1) & (places == places[:, -1:]).all(2).all(0)
    fits[:-1] &= times[:-1, 0] < times[1:, 0]
    misfits = (~fits).nonzero()
    frames = whole - 1 - int(misfits[-1]) if len(misfits) else whole
    return frames, frames * size


def _wan_attentions(transformer):
    return [block.attn1 for block in transformer.blocks]


def _wan_grid(transformer, inputs):
    _, _, frames, height, width = inputs["hidden_states"].shape
    patch_t, patch_h, patch_w = transformer.config.patch_size
    return frames // patch_t, (frames // patch_t) * (height // patch_h) * (width // patch_w)


_WAN = Family(processors.WanEnhanced, _wan_attentions, _wan_grid, guidance_pair=False)

FAMILIES = {
    "CogVideoXTransformer3DModel": Family(
        processors.CogVideoXEnhanced, _cogvideox_attentions, _cogvideox_grid, guidance_pair=True
    ),
    "HunyuanVideoTransformer3DModel": Family(
        processors.HunyuanVideoEnhanced, _hunyuan_video_attentions, _hunyuan_video_grid, guidance_pair=False
    ),
    "LTXVideoTransformer3DModel": Family(
        processors.LTXVideoEnhanced, _cogvideox_attentions, _ltx_video_grid, guidance_pair=True
    ),
    "WanTransformer3DModel": _WAN,
}


def family_of(transformer):
    name = type(transformer).__name__
    if name not in FAMILIES:
        raise ValueError(f"Enhance-A-Video doesn't know {name}; it knows {', '.join(FAMILIES)}")
    return FAMILIES[name]


def is_guidance_pair(latents):
    """Whether the second half of a batch repeats the first: [uncond..., cond...] of the same latents."""
    rows = latents.shape[0]
    return rows % 2 == 0 and torch.equal(latents[: rows // 2], latents[rows // 2 :])
