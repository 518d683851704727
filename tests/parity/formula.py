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
