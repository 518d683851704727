"""Nodes for the tests: tiny random models of ComfyUI's own classes, conditioning for them, and the plain formula."""

import dataclasses

import comfy.model_patcher
import comfy.supported_models
import torch
from comfy.ldm.flux.model import FluxParams
from comfy.ldm.hunyuan_video.model import HunyuanVideoParams

from . import plain

HUNYUAN = {
    "image_model": "hunyuan_video",
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 24,
    "context_in_dim": 32,
    "hidden_size": 256,
    "mlp_ratio": 2.0,
    "num_heads": 2,
    "depth": 2,
    "depth_single_blocks": 3,
    "axes_dim": [16, 56, 56],
    "theta": 256,
    "patch_size": [1, 2, 2],
    "qkv_bias": True,
    "guidance_embed": True,
    "byt5": False,
    "meanflow": False,
    "use_cond_type_embedding": False,
    "vision_in_dim": None,
    "meanflow_sum": False,
}
HUNYUAN_15 = {
    **HUNYUAN,
    "in_channels": 65,
    "out_channels": 32,
    "vec_in_dim": None,
    "depth": 3,
    "depth_single_blocks": 0,
    "patch_size": [1, 1, 1],
    "guidance_embed": False,
    "use_cond_type_embedding": True,
    "vision_in_dim": 1152,
}
COGVIDEOX = {
    "image_model": "cogvideox",
    "num_attention_heads": 2,
    "attention_head_dim": 64,
    "time_embed_dim": 32,
    "text_embed_dim": 32,
    "num_layers": 3,
    "use_rotary_positional_embeddings": True,
}


def known(config, parameters):
    """Without what the ComfyUI that runs has no parameter for."""
    names = {field.name for field in dataclasses.fields(parameters)} | {"image_model"}
    return {name: value for name, value in config.items() if name in names}


FAMILIES = {
    "hunyuan_video": (comfy.supported_models.HunyuanVideo, known(HUNYUAN, HunyuanVideoParams)),
    "ltxv": (
        comfy.supported_models.LTXV,
        {
            "image_model": "ltxv",
            "cross_attention_dim": 128,
            "attention_head_dim": 4,
            "num_attention_heads": 32,
            "caption_channels": 32,
            "num_layers": 3,
        },
    ),
    "wan": (
        comfy.supported_models.WAN21_T2V,
        {
            "image_model": "wan2.1",
            "model_type": "t2v",
            "dim": 256,
            "ffn_dim": 256,
            "num_heads": 2,
            "num_layers": 3,
            "text_dim": 32,
            "in_dim": 16,
            "out_dim": 16,
            "in_dim_ref_conv": 16,
        },
    ),
    "image": (
        comfy.supported_models.Flux,
        known({**HUNYUAN, "image_model": "flux", "patch_size": 2, "txt_ids_dims": []}, FluxParams),
    ),
}
if hasattr(comfy.supported_models, "HunyuanVideo15"):
    FAMILIES["hunyuan_video_15"] = (comfy.supported_models.HunyuanVideo15, HUNYUAN_15)
if hasattr(comfy.supported_models, "CogVideoX_T2V"):
    FAMILIES["cogvideox"] = (comfy.supported_models.CogVideoX_T2V, COGVIDEOX)
    FAMILIES["cogvideox_15"] = (comfy.supported_models.CogVideoX_T2V, {**COGVIDEOX, "patch_size_t": 2})


class TinyModel:
    """A random model; queries and keys are `sharpness` times as large as an initialisation would make them."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "family": (list(FAMILIES),),
                "seed": ("INT", {"default": 0}),
                "dtype": (["float32", "bfloat16"],),
                "sharpness": ("FLOAT", {"default": 1.0}),
            }
        }

    def make(self, family, seed, dtype, sharpness):
        kind, config = FAMILIES[family]
        config = kind(dict(config))
        config.set_inference_dtype(getattr(torch, dtype), None)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = config.get_model({}, device=torch.device("cpu"))
            for name, parameter in model.diffusion_model.named_parameters():
                value = torch.randn(parameter.shape) * (0.05 if parameter.ndim > 1 else 0.1)
                if "norm" in name and name.endswith(("weight", "scale")):
                    value = value + sharpness
                parameter.data = value.to(parameter.dtype)
        model.eval()
        device = torch.device("cpu")
        return (comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=device),)


class TinyConditioning:
    """Random conditioning; `reference` frames become a Hunyuan reference latent, or one of Wan's."""

    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"seed": ("INT", {"default": 0}), "tokens": ("INT", {"default": 5})},
            "optional": {
                "masked": ("BOOLEAN", {"default": False}),
                "reference": ("STRING", {"default": ""}),
                "latent": ("LATENT",),
            },
        }

    def make(self, seed, tokens, masked=False, reference="", latent=None):
        generator = torch.Generator().manual_seed(seed)
        extra = {"pooled_output": torch.randn(1, 24, generator=generator)}
        if masked:
            extra["attention_mask"] = torch.ones(1, tokens, dtype=torch.long)
        if reference:
            shape = list(latent["samples"].shape)
            shape[2] = 1
            frame = torch.randn(shape, generator=generator)
            extra[reference] = [frame] if reference == "reference_latents" else frame
        return ([[torch.randn(1, tokens, 32, generator=generator), extra]],)


class EmptyLatent:
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        integer = ("INT", {"default": 1})
        return {"required": {name: integer for name in ("rows", "channels", "frames", "height", "width")}}

    def make(self, rows, channels, frames, height, width):
        return ({"samples": torch.zeros(rows, channels, frames, height, width)},)


class TinyVAE:
    """What LTXVAddGuide asks of a VAE: a latent of the right size."""

    RETURN_TYPES = ("VAE",)
    FUNCTION = "make"
    CATEGORY = "tests"
    downscale_index_formula = (8, 32, 32)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def make(self):
        return (self,)

    def encode(self, pixels):
        frames, height, width = (pixels.shape[0] - 1) // 8 + 1, pixels.shape[1] // 32, pixels.shape[2] // 32
        return torch.randn(1, 128, frames, height, width, generator=torch.Generator().manual_seed(7))


class PlainFormula:
    """The enhancement written as its formula into the model's layers, for a grid that is told and not found."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": ("MODEL",),
                "weight": ("FLOAT", {"default": 4.0, "min": -100.0}),
                "frames": ("INT", {"default": 1}),
                "positions": ("INT", {"default": 1}),
                "before": ("INT", {"default": 0}),
            }
        }

    def make(self, model, weight, frames, positions, before):
        return (plain.enhance(model.clone(), plain.Formula(weight, frames, positions, before)),)


class ModelPatch:
    """A node that takes a model and gives it changed."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}


class SkipForward(ModelPatch):
    """A cache such as some nodes are: every second step is not run, and the last result is given again."""

    def make(self, model):
        model, state = model.clone(), {}

        def wrapper(executor, x, *args, **kwargs):
            sigma = float(args[-2]["sigmas"][0]) if isinstance(args[-2], dict) else float(args[0][0])
            if state.get("sigma") != sigma:
                state.update(sigma=sigma, passes=state.get("passes", 0) + 1)
            if state["passes"] % 2 == 0 and x.shape in state:
                return state[x.shape]
            state[x.shape] = executor(x, *args, **kwargs)
            return state[x.shape]

        model.add_wrapper_with_key("diffusion_model", "test_cache", wrapper)
        return (model,)


class PatchedAttention(ModelPatch):
    """Another node that patches the same layers: an override of attention (negated), and a forward (times 1.5)."""

    def make(self, model):
        model = model.clone()

        def override(function, *args, **kwargs):
            return -function(*args, **kwargs)

        model.model_options["transformer_options"]["optimized_attention_override"] = override
        diffusion_model = model.get_model_object("diffusion_model")
        for name, _ in diffusion_model.named_modules():
            if name.endswith(("attn1", "blocks.0.self_attn", "img_attn.proj")):
                key = f"diffusion_model.{name}.forward"
                original = model.get_model_object(key)
                model.add_object_patch(key, lambda *a, _original=original, **k: 1.5 * _original(*a, **k))
        return (model,)


class Save:
    """Writes tensors where the test finds them."""

    RETURN_TYPES = ()
    FUNCTION = "save"
    CATEGORY = "tests"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"path": ("STRING",)},
            "optional": {
                "latent": ("LATENT",),
                "image": ("IMAGE",),
                "text": ("STRING", {"forceInput": True}),
                "model": ("MODEL",),
            },
        }

    @classmethod
    def IS_CHANGED(cls, **inputs):
        return float("nan")

    def save(self, path, latent=None, image=None, text=None, model=None):
        saved = {"latent": latent and latent["samples"], "image": image, "text": text}
        if model is not None:  # what is left on the modules of the model
            saved["left"] = [name for name, m in model.model.diffusion_model.named_modules() if "forward" in m.__dict__]
        torch.save(saved, path)
        return {}


NODE_CLASS_MAPPINGS = {
    f"EAVTest{node.__name__}": node
    for node in (TinyModel, TinyConditioning, EmptyLatent, TinyVAE, PlainFormula, SkipForward, PatchedAttention, Save)
}
