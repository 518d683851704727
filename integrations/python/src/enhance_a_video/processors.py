"""Attention processors that multiply a layer's output by its gain.

Each computes what the diffusers processor in whose place it stands computes, with the modules of the attention itself,
so that hooks on them (offload, layerwise casting, LoRA) keep working; it needs to, because queries and keys after norm
and rotary embedding exist only inside a processor.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.attention_processor import CogVideoXAttnProcessor2_0, FusedCogVideoXAttnProcessor2_0
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.models.transformers import transformer_ltx
from diffusers.models.transformers.transformer_hunyuan_video import HunyuanVideoAttnProcessor2_0
from diffusers.models.transformers.transformer_ltx import LTXVideoAttnProcessor
from diffusers.models.transformers.transformer_wan import WanAttnProcessor

from .operators import gain_of


@dataclass
class Call:
    """What the layers of a transformer need to know of the forward pass that runs."""

    active: bool = False
    frames: int = 1  # T
    tokens: int = 0  # T * S; tokens of the video stream before these only condition
    videos: int = 1  # rows i, i + videos, ... are branches of one video and share a gain
    weight: float = 1.0


class EnhancedProcessor:
    """One enhanced self-attention layer."""

    stands_for = ()  # the diffusers processors whose computation this one repeats

    def __init__(self, original, call, owner):
        self.original = original
        self.call = call
        self.owner = owner
        self.ran = False  # in the forward pass that runs
        self.measured = None  # (CFI, gain) of its rows

    # What diffusers sets on a processor goes to the original, and so outlives the enhancement. A processor that has no
    # such setting stays without it: the AttributeError makes hasattr() false.
    @property
    def _attention_backend(self):
        return self.original._attention_backend

    @_attention_backend.setter
    def _attention_backend(self, backend):
        self.original._attention_backend = backend

    @property
    def _parallel_config(self):
        return self.original._parallel_config

    @_parallel_config.setter
    def _parallel_config(self, config):
        self.original._parallel_config = config

    def attend(self, query, key, value, mask):
        """Attention over [B, L, heads, d] through the backend that the user chose; [B, L, C]."""
        attended = dispatch_attention_fn(
            query,
            key,
            value,
            attn_mask=mask,
            dropout_p=0.0,
            is_causal=False,
            backend=self._attention_backend,
            parallel_config=self._parallel_config,
        )
        return attended.flatten(2, 3).to(query.dtype)

    def gain(self, query, key):
        """The gain [B, 1, 1], from the query and key [B, heads, L, d] of the video stream."""
        call = self.call
        skipped = query.shape[2] - call.tokens
        if skipped < 0:
            raise RuntimeError(
                f"found {query.shape[2]} of {call.tokens} video tokens: Enhance-A-Video needs all frames of a position "
                "in one process; use a parallel configuration that doesn't split the sequence"
            )
        cfi = torch.ops.eav.cfi(query[:, :, skipped:].detach(), key[:, :, skipped:].detach(), call.frames)
        branches = max(cfi.shape[0] // call.videos, 1)
        shared = cfi.unflatten(0, (branches, -1)).mean(0).repeat(branches)
        gain = gain_of(shared, call.frames, call.weight)
        self.measured = (cfi, gain)
        return gain[:, None, None]

    def scale(self, hidden_states, gain):
        """Multiplies the video tokens of [B, L, C], in float32."""
        skipped = hidden_states.shape[1] - self.call.tokens
        scaled = (hidden_states[:, skipped:] * gain).to(hidden_states.dtype)
        return torch.cat([hidden_states[:, :skipped], scaled], dim=1) if skipped else scaled


def _heads_first(tokens):
    return tokens.transpose(1, 2)


class CogVideoXEnhanced(EnhancedProcessor):
    stands_for = (CogVideoXAttnProcessor2_0, FusedCogVideoXAttnProcessor2_0)

    def __call__(self, attn, hidden_states, encoder_hidden_states, attention_mask=None, image_rotary_emb=None):
        self.ran = True
        if not self.call.active:
            return self.original(attn, hidden_states, encoder_hidden_states, attention_mask, image_rotary_emb)

        text = encoder_hidden_states.shape[1]
        tokens = torch.cat([encoder_hidden_states, hidden_states], dim=1)
        if attention_mask is not None:
            attention_mask = attn.prepare_attention_mask(attention_mask, tokens.shape[1], tokens.shape[0])
            attention_mask = attention_mask.view(tokens.shape[0], attn.heads, -1, attention_mask.shape[-1])

        if isinstance(self.original, FusedCogVideoXAttnProcessor2_0):
            query, key, value = attn.to_qkv(tokens).chunk(3, dim=-1)
        else:
            query, key, value = attn.to_q(tokens), attn.to_k(tokens), attn.to_v(tokens)
        query, key, value = (_heads_first(t.unflatten(2, (attn.heads, -1))) for t in (query, key, value))
        if attn.norm_q is not None:
            query = attn.norm_q(query)
        if attn.norm_k is not None:
            key = attn.norm_k(key)
        if image_rotary_emb is not None:
            query, key = (
                torch.cat([t[:, :, :text], apply_rotary_emb(t[:, :, text:], image_rotary_emb)], dim=2)
                for t in (query, key)
            )
        gain = self.gain(query[:, :, text:], key[:, :, text:])

        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask)
        attended = attn.to_out[1](attn.to_out[0](_heads_first(attended).flatten(2)))
        return self.scale(attended[:, text:], gain), attended[:, :text]


class HunyuanVideoEnhanced(EnhancedProcessor):
    stands_for = (HunyuanVideoAttnProcessor2_0,)

    def __call__(
        self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, image_rotary_emb=None
    ):
        self.ran = True
        if not self.call.active:
            return self.original(attn, hidden_states, encoder_hidden_states, attention_mask, image_rotary_emb)

        # Blocks of two streams project the text by itself, those of one stream with the video.
        video = hidden_states.shape[1]
        two_streams = attn.add_q_proj is not None
        tokens = hidden_states if two_streams else torch.cat([hidden_states, encoder_hidden_states], dim=1)

        query, key, value = (p(tokens).unflatten(2, (attn.heads, -1)) for p in (attn.to_q, attn.to_k, attn.to_v))
        if attn.norm_q is not None:
            query = attn.norm_q(query)
        if attn.norm_k is not None:
            key = attn.norm_k(key)
        video_query, video_key = query[:, :video], key[:, :video]
        if image_rotary_emb is not None:
            video_query = apply_rotary_emb(video_query, image_rotary_emb, sequence_dim=1)
            video_key = apply_rotary_emb(video_key, image_rotary_emb, sequence_dim=1)
        gain = self.gain(_heads_first(video_query), _heads_first(video_key))

        if two_streams:
            projections = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
            text_query, text_key, text_value = (
                p(encoder_hidden_states).unflatten(2, (attn.heads, -1)) for p in projections
            )
            if attn.norm_added_q is not None:
                text_query = attn.norm_added_q(text_query)
            if attn.norm_added_k is not None:
                text_key = attn.norm_added_k(text_key)
            value = torch.cat([value, text_value], dim=1)
        else:
            text_query, text_key = query[:, video:], key[:, video:]
        query = torch.cat([video_query, text_query], dim=1)
        key = torch.cat([video_key, text_key], dim=1)

        attended = self.attend(query, key, value, attention_mask)
        attended, text = attended[:, :video], attended[:, video:]
        if getattr(attn, "to_out", None) is not None:
            attended = attn.to_out[1](attn.to_out[0](attended))
        if getattr(attn, "to_add_out", None) is not None:
            text = attn.to_add_out(text)
        return self.scale(attended, gain), text


class LTXVideoEnhanced(EnhancedProcessor):
    stands_for = (LTXVideoAttnProcessor,)

    def __call__(
        self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, image_rotary_emb=None
    ):
        self.ran = True
        if not self.call.active:
            return self.original(attn, hidden_states, encoder_hidden_states, attention_mask, image_rotary_emb)

        if attention_mask is not None:
            batch, length, _ = hidden_states.shape
            attention_mask = attn.prepare_attention_mask(attention_mask, length, batch)
            attention_mask = attention_mask.view(batch, attn.heads, -1, attention_mask.shape[-1])
        query, key = attn.norm_q(attn.to_q(hidden_states)), attn.norm_k(attn.to_k(hidden_states))
        value = attn.to_v(hidden_states)
        if image_rotary_emb is not None:
            query, key = (transformer_ltx.apply_rotary_emb(t, image_rotary_emb) for t in (query, key))
        query, key, value = (t.unflatten(2, (attn.heads, -1)) for t in (query, key, value))
        gain = self.gain(_heads_first(query), _heads_first(key))

        attended = self.attend(query, key, value, attention_mask)
        return self.scale(attn.to_out[1](attn.to_out[0](attended)), gain)


class WanEnhanced(EnhancedProcessor):
    stands_for = (WanAttnProcessor,)

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, rotary_emb=None):
        self.ran = True
        if not self.call.active:
            return self.original(attn, hidden_states, encoder_hidden_states, attention_mask, rotary_emb)

        if getattr(attn, "fused_projections", False):
            query, key, value = attn.to_qkv(hidden_states).chunk(3, dim=-1)
        else:
            query, key, value = attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states)
        query, key = attn.norm_q(query), attn.norm_k(key)
        query, key, value = (t.unflatten(2, (attn.heads, -1)) for t in (query, key, value))
        if rotary_emb is not None:
            query, key = (self.rotate(t, *rotary_emb) for t in (query, key))
        gain = self.gain(_heads_first(query), _heads_first(key))

        attended = self.attend(query, key, value, attention_mask)
        return self.scale(attn.to_out[1](attn.to_out[0](attended)), gain)

    @staticmethod
    def rotate(tokens, cos, sin):
        even, odd = tokens.unflatten(-1, (-1, 2)).unbind(-1)
        cos, sin = cos[..., 0::2], sin[..., 1::2]
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2).type_as(tokens)
