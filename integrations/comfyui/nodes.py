"""The two nodes. ComfyUI itself is only imported when a node runs."""

from . import trace
from .enhance import KEY, Enhancement
from .families import family_of, select

PERCENT = {"min": 0.0, "max": 1.0, "step": 0.001}
PLACE = "Of the noise schedule, "


class EnhanceAVideo:
    CATEGORY = "model_patches/video"
    DESCRIPTION = (
        "Strengthens the attention between frames, so that things keep their shape, colour and motion better. For "
        "HunyuanVideo, LTXV, Wan and CogVideoX; costs next to nothing."
    )
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "enhance"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": ("MODEL",),
                "weight": (
                    "FLOAT",
                    {
                        "default": 4.0,
                        "min": -100.0,
                        "max": 100.0,
                        "step": 0.01,
                        "tooltip": "A layer's output is multiplied by max(1, CFI * (frames + weight)). More is "
                        "stronger. 0 is the formula at 0, not off: bypass the node to switch it off.",
                    },
                ),
                "start_percent": ("FLOAT", {"default": 0.0, **PERCENT, "tooltip": PLACE + "from where on"}),
                "end_percent": ("FLOAT", {"default": 1.0, **PERCENT, "tooltip": PLACE + "up to where"}),
            },
            "optional": {
                "blocks": (
                    "STRING",
                    {
                        "default": "all",
                        "tooltip": 'Which blocks: "all", or parts such as "double, single 0-9" (HunyuanVideo) or '
                        '"0-5, 8" (counted over all blocks)',
                    },
                ),
            },
        }

    def enhance(self, model, weight, start_percent, end_percent, blocks="all"):
        import comfy.ldm.modules.attention
        from comfy.patcher_extension import WrappersMP

        if not hasattr(comfy.ldm.modules.attention, "wrap_attn"):
            raise RuntimeError("Enhance-A-Video: this ComfyUI has no override of attention; 0.3.60 or newer is needed")
        diffusion_model = model.get_model_object("diffusion_model")
        family = family_of(diffusion_model)
        layers = select(family.layers(diffusion_model), blocks)
        names = {layer.number: layer.name for layer in layers}
        enhancement = Enhancement(family, weight, start_percent, end_percent, names)

        model = model.clone()
        for kind, wrapper in (
            (WrappersMP.OUTER_SAMPLE, enhancement.outer_sample),
            (WrappersMP.DIFFUSION_MODEL, enhancement.diffusion_model),
        ):
            model.remove_wrappers_with_key(kind, KEY)  # a second node takes the place of the first
            model.add_wrapper_with_key(kind, KEY, wrapper)
        model.set_attachments(KEY, enhancement)
        return (model,)


class EnhanceAVideoTrace:
    CATEGORY = "model_patches/video"
    DESCRIPTION = "What Enhance-A-Video did: CFI and gain of each step and layer. Takes the model that was sampled."
    RETURN_TYPES = ("IMAGE", "STRING")
    RETURN_NAMES = ("picture", "text")
    FUNCTION = "show"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "Of the Enhance-A-Video node"}),
                "latent": ("LATENT", {"tooltip": "Of the sampler: the trace is read after it has run"}),
            }
        }

    @classmethod
    def IS_CHANGED(cls, **inputs):
        return float("nan")  # a model keeps its traces, its node's result does not change with them

    def show(self, model, latent):
        enhancement = model.get_attachment(KEY)
        if enhancement is None:
            raise ValueError("Enhance-A-Video Trace: the model is not enhanced; connect Enhance-A-Video's MODEL")
        run = trace.run_of(enhancement.runs, latent["samples"])
        if run is None:
            raise ValueError("Enhance-A-Video Trace: no sampler has run with this model; connect the same MODEL to it")
        text = trace.text(run, enhancement.weight)
        return {"ui": {"text": (text,)}, "result": (trace.picture(run, enhancement.weight), text)}
