"""Enhance-A-Video written as its formula over a diffusers attention processor: what the engine is compared with."""

from unittest import mock

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import CogVideoXAttnProcessor2_0


def cfi(query, key, frames):
    """Per batch row: query and key [B, heads, T*S, d] of the video tokens alone -> [B]."""
    query, key = (x.unflatten(2, (frames, -1)).transpose(2, 3).float() for x in (query, key))  # [B, heads, S, T, d]
    maps = (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)  # [B, heads, S, T, T]
    off_diagonal = ~torch.eye(frames, dtype=torch.bool)
    return maps[..., off_diagonal].mean((1, 2, 3))


class EnhancedProcessor(CogVideoXAttnProcessor2_0):
    """CogVideoX's own processor with the gain; `fault` breaks the formula on purpose."""

    def __init__(self, frames, weight, fault=None):
        super().__init__()
        self.frames, self.weight, self.fault = frames, weight, fault
        self.measured = []  # the mean CFI of every call

    def __call__(self, attn, hidden_states, encoder_hidden_states, attention_mask=None, image_rotary_emb=None):
        text = encoder_hidden_states.shape[1]
        attention = F.scaled_dot_product_attention
        seen = []

        def watched(query, key, value, **options):
            seen.extend((query[:, :, text:], key[:, :, text:]))
            return attention(query, key, value, **options)

        with mock.patch.object(F, "scaled_dot_product_attention", watched):
            video, caption = super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, image_rotary_emb)

        measured = cfi(*seen, self.frames)
        self.measured.append(measured.mean().item())
        if self.fault != "a gain for each branch":
            measured = measured.mean().expand(len(measured))
        frames = self.frames + (self.fault == "one frame too many")
        gain = (measured * (frames + self.weight)).clamp(min=1).view(-1, 1, 1)
        gain = gain.to(video.dtype)
        return video * gain, caption * gain if self.fault == "text scaled too" else caption


def enhance(pipeline, frames, weight, start=0.0, end=1.0, layers=None, steps=None, fault=None):
    """Lets the next run of the pipeline be enhanced. `frames` is T; no `weight` means plain attention;
    `layers` lists the layers, all by default.

    Returns the callback_on_step_end to call the pipeline with, which switches the enhancement on and off over `steps`.
    """
    plain = CogVideoXAttnProcessor2_0()
    enhanced = EnhancedProcessor(frames, weight, fault)

    def switch(step):
        on = weight is not None and start * steps <= step < end * steps
        for index, block in enumerate(pipeline.transformer.transformer_blocks):
            block.attn1.processor = enhanced if on and (layers is None or index in layers) else plain

    def after_step(pipeline, step, timestep, tensors):
        switch(step + 1)
        return tensors

    switch(0)
    return after_step


class HunyuanVideoEnhancedProcessor:
    def __init__(self, enhancement, layer):
        self.enhancement, self.layer = enhancement, layer

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, image_rotary_emb=None):
        return self.enhancement.attend(self.layer, attn, hidden_states, encoder_hidden_states, attention_mask, image_rotary_emb)


class HunyuanVideoEnhancement:
    """While it is entered, the attention of a HunyuanVideoTransformer3DModel is enhanced where `on` is set.

    `frames` is T; no `weight` means plain attention; `layers` counts dual-stream blocks first, all by default; `fault`
    breaks the formula on purpose.
    """

    def __init__(self, transformer, frames, weight, fault=None, layers=None):
        self.blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
        self.dual = len(transformer.transformer_blocks)
        self.frames, self.weight, self.fault, self.layers = frames, weight, fault, layers
        self.on, self.measured, self.last = True, [], {}

    def __enter__(self):
        self.plain = [block.attn.processor for block in self.blocks]
        for layer, block in enumerate(self.blocks):
            if self.weight is not None and (self.layers is None or layer in self.layers):
                block.attn.processor = HunyuanVideoEnhancedProcessor(self, layer)
        return self

    def __exit__(self, *_):
        for block, processor in zip(self.blocks, self.plain, strict=True):
            block.attn.processor = processor

    def attend(self, layer, attn, hidden_states, encoder_hidden_states, attention_mask, image_rotary_emb):
        import diffusers.models.transformers.transformer_hunyuan_video as module

        if not self.on:
            return self.plain[layer](attn, hidden_states, encoder_hidden_states, attention_mask, image_rotary_emb)
        video, seen = hidden_states.shape[1], []
        attention = module.dispatch_attention_fn

        def watched(query, key, value, **options):  # [B, L, heads, d]
            seen.extend(x[:, :video].transpose(1, 2) for x in (query, key))
            return attention(query, key, value, **options)

        with mock.patch.object(module, "dispatch_attention_fn", watched):
            image, caption = self.plain[layer](attn, hidden_states, encoder_hidden_states, attention_mask, image_rotary_emb)
        measured = cfi(*seen, self.frames).mean()
        if self.fault == "one CFI for both branches":  # that of the branch before
            measured, self.last[layer] = self.last.get(layer, measured), measured
        self.measured.append(measured.item())
        gain = (measured * (self.frames + (self.fault == "one frame too many") + self.weight)).clamp(min=1).to(image.dtype)
        if self.fault == "a single stream's MLP scaled too" and layer >= self.dual:
            # The projection that attention and MLP share, then, is scaled as a whole.
            block = self.blocks[layer]
            block.proj_out.register_forward_hook(self.scale_once(gain, video))
            return image, caption
        return image * gain, caption * gain if self.fault == "text scaled too" else caption

    @staticmethod
    def scale_once(gain, video):
        def hook(module, inputs, output):
            module._forward_hooks.clear()
            return torch.cat([output[:, :video] * gain, output[:, video:]], 1)

        return hook


class LtxVideoEnhancedProcessor:
    """The processor of a self-attention of LTXVideoTransformer3DModel with the gain; `on` switches it.

    The first `conditions` tokens only condition: they are no part of the map, and are not scaled.
    """

    def __init__(self, plain, frames, weight, fault=None, conditions=0):
        self.plain, self.frames, self.weight, self.fault = plain, frames, weight, fault
        self.conditions = conditions
        self.on, self.measured = True, []

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, image_rotary_emb=None):
        import diffusers.models.transformers.transformer_ltx as module

        seen = []
        attention = module.dispatch_attention_fn

        def watched(query, key, value, **options):  # [B, L, heads, d]
            seen.extend(x[:, self.conditions :].transpose(1, 2) for x in (query, key))
            return attention(query, key, value, **options)

        with mock.patch.object(module, "dispatch_attention_fn", watched):
            result = self.plain(attn, hidden_states, encoder_hidden_states, attention_mask, image_rotary_emb)
        if not self.on:
            return result
        measured = cfi(*seen, self.frames)
        self.measured.append(measured.mean().item())
        if self.fault != "a gain for each branch":
            measured = measured.mean().expand(len(measured))
        gain = (measured * (self.frames + self.weight)).clamp(min=1).view(-1, 1, 1).to(result.dtype)
        first = 0 if self.fault == "conditions scaled too" else self.conditions
        return torch.cat([result[:, :first], result[:, first:] * gain], 1)


class WanEnhancement:
    """While it is entered, the self-attention of a WanTransformer3DModel is enhanced where `on` is set.

    Each call is one branch, and has a CFI of its own. `frames` is T; no `weight` means plain attention; `layers` lists
    the layers, all by default; `fault` breaks the formula on purpose.
    """

    def __init__(self, transformers, frames, weight, fault=None, layers=None):
        self.attentions = [
            block.attn1
            for transformer in transformers
            for layer, block in enumerate(transformer.blocks)
            if weight is not None and (layers is None or layer in layers)
        ]
        self.frames, self.weight, self.fault = frames, weight, fault
        self.on, self.measured, self.last = True, [], {}

    def __enter__(self):
        self.plain = {attention: attention.processor for attention in self.attentions}
        for attention in self.attentions:
            attention.processor = self.attend
        return self

    def __exit__(self, *_):
        for attention, processor in self.plain.items():
            attention.processor = processor

    def attend(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, rotary_emb=None):
        import diffusers.models.transformers.transformer_wan as module

        seen = []
        attention = module.dispatch_attention_fn

        def watched(query, key, value, **options):  # [B, L, heads, d]
            seen.extend(x.transpose(1, 2) for x in (query, key))
            return attention(query, key, value, **options)

        with mock.patch.object(module, "dispatch_attention_fn", watched):
            result = self.plain[attn](attn, hidden_states, encoder_hidden_states, attention_mask, rotary_emb)
        if not self.on:
            return result
        measured = cfi(*seen, self.frames).mean()
        if self.fault == "one CFI for both branches":  # that of the branch before
            measured, self.last[attn] = self.last.get(attn, measured), measured
        self.measured.append(measured.item())
        return result * (measured * (self.frames + (self.fault == "one frame too many") + self.weight)).clamp(min=1)
