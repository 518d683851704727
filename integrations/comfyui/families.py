"""The video models of ComfyUI that can be enhanced: their layers, and where the video's tokens are."""

import inspect
from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Grid:
    """The video's tokens, T*S of them, in the sequence that a layer attends over.

    They stand after `before` tokens that only condition, or, without a number, at the end. The others (text, guides,
    reference frames) are left alone.
    """

    frames: int  # T
    positions: int  # S
    before: int | None = 0

    @property
    def tokens(self):
        return self.frames * self.positions

    def video(self, length):
        """Where they are among `length` tokens; None where so many do not hold them."""
        first = length - self.tokens if self.before is None else self.before
        return slice(first, first + self.tokens) if 0 <= first <= length - self.tokens else None


@dataclass(frozen=True)
class Layer:
    """One self-attention layer."""

    stream: str  # "double" or "single", "" where a model has one kind of block
    index: int  # among its kind
    number: int  # among all
    measured: torch.nn.Module  # its forward takes transformer_options and attends once over the sequence
    scaled: torch.nn.Module | None  # whose output is scaled; None: that of attention itself, before the projection

    @property
    def name(self):
        return f"{self.stream} {self.index}".strip()


@dataclass(frozen=True)
class Family:
    name: str
    classes: tuple  # of ComfyUI's diffusion models
    layers: callable  # model -> [Layer]
    grid: callable  # model, arguments of the forward pass -> Grid


def _patches(size, patch):
    return -(-size // patch)  # models pad to whole patches


def _layers_of(modules, scaled=lambda module: module):
    modules = [uncompiled(module) for module in modules]
    return [Layer("", i, i, module, scaled(module)) for i, module in enumerate(modules)]


def _hunyuan_layers(model):
    double, single = ([uncompiled(b) for b in blocks] for blocks in (model.double_blocks, model.single_blocks))
    doubles = [Layer("double", i, i, block, block.img_attn.proj) for i, block in enumerate(double)]
    # Attention and MLP of a single-stream block share one projection: the attention part is scaled before it.
    first = len(doubles)
    return doubles + [Layer("single", i, first + i, block, None) for i, block in enumerate(single)]


def _grid_of(x, patch, before=0):
    frames, height, width = (_patches(n, p) for n, p in zip(x.shape[2:], patch, strict=True))
    return Grid(frames, height * width, before)


def _hunyuan_grid(model, call):
    """Reference latents stand before the video. Text stands behind it or, in newer ComfyUIs, before both."""
    grid = _grid_of(call["x"], model.patch_size, before=None)
    if getattr(uncompiled(model.double_blocks[0]), "flipped_img_txt", False):
        reference = call.get("ref_latent")
        before = 0 if reference is None else _grid_of(reference, model.patch_size).tokens
        grid = replace(grid, before=before)
    return grid


def _ltxv_grid(model, call):
    """LTXVAddGuide appends whole frames to the latent; `keyframe_idxs` [B, 3, tokens, ...] has their positions."""
    frames, height, width = call["x"].shape[2:]
    guides = call.get("keyframe_idxs")
    guided = 0 if guides is None else _patches(guides.shape[2], height * width)
    return Grid(frames - guided, height * width)


def _wan_grid(model, call):
    """Frames of `time_dim_concat`, and references of the models that sing and speak, follow the video."""
    reference = call.get("reference_latent")
    before = 0
    if getattr(model, "ref_conv", None) is not None and reference is not None:  # [B, C, H, W]
        before = _grid_of(reference[:, :, None], model.patch_size).tokens
    return _grid_of(call["x"], model.patch_size, before)


def _cogvideox_grid(model, call):
    """Text stands before the video."""
    return _grid_of(call["x"], (model.patch_size_t or 1, model.patch_size, model.patch_size), before=None)


FAMILIES = (
    Family("HunyuanVideo", ("HunyuanVideo",), _hunyuan_layers, _hunyuan_grid),
    Family("LTXV", ("LTXVModel",), lambda model: _layers_of(b.attn1 for b in model.transformer_blocks), _ltxv_grid),
    Family(
        "Wan",
        ("WanModel", "VaceWanModel", "CameraWanModel", "WanModel_S2V", "HumoWanModel", "AnimateWanModel"),
        lambda model: _layers_of(block.self_attn for block in model.blocks),
        _wan_grid,
    ),
    Family(
        "CogVideoX",
        ("CogVideoXTransformer3DModel",),
        lambda model: _layers_of(model.blocks, scaled=lambda block: block.attn_out),
        _cogvideox_grid,
    ),
)


def family_of(model):
    """The family of a diffusion model; an error names those that are supported."""
    kind = type(uncompiled(model))
    image = len(getattr(model, "patch_size", None) or ()) == 2 if kind.__name__ == "HunyuanVideo" else False
    for family in FAMILIES:
        if kind.__module__.startswith("comfy.") and kind.__name__ in family.classes and not image:
            return family
    raise ValueError(
        f"Enhance-A-Video: the model is a {kind.__name__}{' of images' if image else ''}, which is not supported. "
        "Supported are ComfyUI's own HunyuanVideo (also 1.5), LTXV, Wan 2.1 and 2.2, and CogVideoX"
    )


def uncompiled(module):
    """What torch.compile's wrapper around a module wraps."""
    return getattr(module, "_orig_mod", module)


def named_arguments(function, args, kwargs):
    """The arguments of a call by name, those of **kwargs among them."""
    bound = inspect.signature(function).bind(*args, **kwargs).arguments
    return {**bound.pop("kwargs", {}), **bound}


def select(layers, wanted):
    """The layers that `wanted` names: "all", or parts such as "double", "single 0-9" and "3, 7-12" (of all blocks)."""
    chosen = set()
    for part in wanted.replace(";", ",").split(","):
        words = part.lower().split()
        stream = words.pop(0) if words and words[0] in ("double", "single", "all") else "all"
        if not words and not part.strip():
            raise _bad_blocks(part, layers)
        first, last = _range(words, part, layers)
        found = {
            layer.number
            for layer in layers
            if stream in ("all", layer.stream) and first <= (layer.number if stream == "all" else layer.index) <= last
        }
        if not found:
            raise _bad_blocks(part, layers)
        chosen |= found
    return [layer for layer in layers if layer.number in chosen]


def _range(words, part, layers):
    if not words:
        return 0, len(layers)
    ends = "".join(words).split("-")
    if len(ends) > 2 or not all(end.isdecimal() for end in ends):
        raise _bad_blocks(part, layers)
    return int(ends[0]), int(ends[-1])


def _bad_blocks(part, layers):
    streams = {stream: sum(layer.stream == stream for layer in layers) for stream in ("double", "single")}
    has = ", ".join(f"{count} {stream}" for stream, count in streams.items() if count) or f"{len(layers)}"
    return ValueError(
        f'Enhance-A-Video: blocks {part.strip()!r} selects none. The model has {has} blocks; expected "all", or '
        'parts such as "double, single 0-9" or "0-5, 8"'
    )
