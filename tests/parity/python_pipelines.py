"""Tiny pipelines of the four families with random weights, and the method written out as a plain formula."""

import contextlib
import math
from dataclasses import dataclass, field

import diffusers
import torch
import torch.nn.functional as F
from diffusers.models.transformers import transformer_hunyuan_video, transformer_ltx, transformer_wan

torch.set_num_threads(1)  # the models are too small for more to help
STEPS = 3
TEXT = 8


def reference_map(query, key, frames):
    """Temporal attention maps [B, heads, S, T, T] of video tokens [B, heads, T*S, d], in float64."""
    query, key = (t.double().unflatten(2, (frames, -1)).transpose(2, 3) for t in (query, key))
    return torch.softmax(query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]), dim=-1)


def reference_cfi(query, key, frames):
    """[B, heads] in float64."""
    maps = reference_map(query, key, frames)
    others = maps.masked_fill(torch.eye(frames, dtype=torch.bool), 0)
    return others.sum((-1, -2)).mean(-1) / (frames * (frames - 1))


class PlainProcessor:
    """The method as a formula around diffusers' own processor, whose query and key it sees on their way to attention.

    `rows` tells which rows of a batch share a gain, as a list of lists.
    """

    def __init__(self, original, family, frames, weight, rows):
        self.original, self.family, self.frames, self.weight, self.rows = original, family, frames, weight, rows

    @contextlib.contextmanager
    def watch(self):
        seen = []
        module, name = self.family.attention_function
        function = getattr(module, name)

        def remember(query, key, *args, **kwargs):
            seen.append((query, key))
            return function(query, key, *args, **kwargs)

        setattr(module, name, remember)
        try:
            yield seen
        finally:
            setattr(module, name, function)

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, image_rotary_emb=None):
        with self.watch() as seen:
            output = self.original(attn, hidden_states, encoder_hidden_states, attention_mask, image_rotary_emb)
        (query, key), = seen
        query, key = (self.family.video_tokens(t, hidden_states.shape[1]) for t in (query, key))
        cfi = reference_cfi(query, key, self.frames).mean(1)
        gain = torch.empty_like(cfi)
        for rows in self.rows(len(cfi)):
            gain[rows] = max(1, cfi[rows].mean() * (self.frames + self.weight))
        scale = lambda video: (video * gain[:, None, None]).to(video.dtype)
        return (scale(output[0]), *output[1:]) if isinstance(output, tuple) else scale(output)


@dataclass
class Family:
    name: str
    pipeline: object
    transformer: object
    scheduler: object
    attentions: object
    attention_function: tuple
    video_tokens: object
    latents: tuple
    frames: int
    embeds: object
    call: dict = field(default_factory=dict)
    components: dict = field(default_factory=dict)
    pairs: bool = False

    def build(self, seed=0):
        torch.manual_seed(seed)
        transformer = self.transformer()
        # Larger than they come, so that attention differs between layers and gains exceed 1 by far.
        for name, parameter in transformer.named_parameters():
            if parameter.dim() > 1:
                parameter.data.mul_(2.0)
        transformer.eval()
        components = {"vae": None, "text_encoder": None, "tokenizer": None, **self.components}
        pipe = self.pipeline(transformer=transformer, scheduler=self.scheduler(), **components)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def inputs(self, videos=(0,)):
        """Latents and embeddings of the videos of these seeds."""
        each = []
        for seed in videos:
            generator = torch.Generator().manual_seed(100 + seed)
            random = lambda *shape: torch.randn(shape, generator=generator)
            each.append({"latents": random(1, *self.latents), **self.embeds(random)})
        return {key: torch.cat([inputs[key] for inputs in each]) for key in each[0]}

    def run(self, pipe, videos=(0,), guidance=1.0, steps=STEPS, **more):
        inputs = self.inputs(videos)
        with torch.no_grad():
            return pipe(
                **inputs, **{**self.call, **self.guidance(guidance), **more}, num_inference_steps=steps,
                output_type="latent", return_dict=False,
            )[0]

    def guidance(self, scale):
        return {"true_cfg_scale": scale} if self.name == "hunyuan_video" else {"guidance_scale": scale}

    def rows(self, guidance):
        """Which rows share a gain."""
        if self.pairs and guidance > 1:
            return lambda n: [[i, i + n // 2] for i in range(n // 2)] if n > 1 else [[0]]
        return lambda n: [[i] for i in range(n)]

    def enhance_plainly(self, pipe, weight, guidance):
        for attention in self.attentions(pipe.transformer):
            attention.processor = PlainProcessor(
                attention.processor, self, self.frames, weight, self.rows(guidance)
            )


def heads_first(tokens):
    return tokens.transpose(1, 2)


def _text(width, **more):
    def embeds(random):
        return {
            "prompt_embeds": random(1, TEXT, width),
            "negative_prompt_embeds": random(1, TEXT, width),
            **{name: make(random) for name, make in more.items()},
        }

    return embeds


def _mask(_):
    return torch.ones(1, TEXT)


FAMILIES = {
    family.name: family
    for family in (
        Family(
            "cogvideox",
            diffusers.CogVideoXPipeline,
            lambda: diffusers.CogVideoXTransformer3DModel(
                num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=4, time_embed_dim=4,
                text_embed_dim=16, num_layers=2, sample_width=4, sample_height=4, sample_frames=17, patch_size=2,
                temporal_compression_ratio=4, max_text_seq_length=TEXT, use_rotary_positional_embeddings=True,
            ),
            diffusers.CogVideoXDDIMScheduler,
            lambda t: [block.attn1 for block in t.transformer_blocks],
            (F, "scaled_dot_product_attention"),
            lambda tokens, video: tokens[:, :, -video:],
            latents=(5, 4, 4, 4),
            frames=5,
            embeds=_text(16),
            call={"num_frames": 17, "height": 32, "width": 32, "max_sequence_length": TEXT},
            pairs=True,
        ),
        Family(
            "hunyuan_video",
            diffusers.HunyuanVideoPipeline,
            lambda: diffusers.HunyuanVideoTransformer3DModel(
                in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=16, num_layers=1,
                num_single_layers=1, num_refiner_layers=1, patch_size=2, patch_size_t=1, guidance_embeds=True,
                text_embed_dim=16, pooled_projection_dim=8, rope_axes_dim=(4, 6, 6),
            ),
            diffusers.FlowMatchEulerDiscreteScheduler,
            lambda t: [b.attn for b in (*t.transformer_blocks, *t.single_transformer_blocks)],
            (transformer_hunyuan_video, "dispatch_attention_fn"),
            lambda tokens, video: heads_first(tokens[:, :video]),
            latents=(4, 5, 4, 4),
            frames=5,
            embeds=_text(
                16,
                prompt_attention_mask=_mask,
                negative_prompt_attention_mask=_mask,
                pooled_prompt_embeds=lambda random: random(1, 8),
                negative_pooled_prompt_embeds=lambda random: random(1, 8),
            ),
            call={"num_frames": 17, "height": 32, "width": 32},
            components={"text_encoder_2": None, "tokenizer_2": None},
        ),
        Family(
            "ltx_video",
            diffusers.LTXPipeline,
            lambda: diffusers.LTXVideoTransformer3DModel(
                in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=16, cross_attention_dim=32,
                num_layers=2, caption_channels=16,
            ),
            diffusers.FlowMatchEulerDiscreteScheduler,
            lambda t: [block.attn1 for block in t.transformer_blocks],
            (transformer_ltx, "dispatch_attention_fn"),
            lambda tokens, video: heads_first(tokens),
            latents=(20, 4),
            frames=5,
            embeds=_text(16, prompt_attention_mask=_mask, negative_prompt_attention_mask=_mask),
            call={"num_frames": 33, "height": 64, "width": 64},
            pairs=True,
        ),
        Family(
            "wan",
            diffusers.WanPipeline,
            lambda: diffusers.WanTransformer3DModel(
                patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4,
                text_dim=16, freq_dim=16, ffn_dim=32, num_layers=2, qk_norm="rms_norm_across_heads",
            ),
            lambda: diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True),
            lambda t: [block.attn1 for block in t.blocks],
            (transformer_wan, "dispatch_attention_fn"),
            lambda tokens, video: heads_first(tokens),
            latents=(4, 5, 4, 4),
            frames=5,
            embeds=_text(16),
            call={"num_frames": 17, "height": 32, "width": 32},
        ),
    )
}
