"""CFI, gain and attention map of a query and a key."""

import importlib.util
from functools import partial
from pathlib import Path

import torch

from . import cfi_triton

torch.ops.load_library(next(Path(__file__).parent.glob("_operators.*")))


def use_triton(device):
    """Operators on this dispatch key run by Triton where that serves. Holds for as long as what it returns lives."""
    library = torch.library.Library("eav", "IMPL")
    keys = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, device))
    for function in (cfi_triton.cfi, cfi_triton.cfi_per_head):
        name = function.__name__
        compiled = partial(torch.library.get_kernel(f"eav::{name}", device).call_boxed, keys)
        library.impl(name, cfi_triton.or_else(function, compiled), device)
    return library


if importlib.util.find_spec("triton") and hasattr(torch.library, "get_kernel"):  # which an old PyTorch lacks
    _triton = use_triton("CUDA")


def _video_tokens(tokens, layout, text_first, text_last):
    """The video tokens [B, heads, T*S, d] as a view."""
    if layout == "blhd":
        tokens = tokens.transpose(1, 2)
    elif layout != "bhld":
        raise ValueError(f"layout is 'bhld' ([B, heads, L, d]) or 'blhd' ([B, L, heads, d]), found {layout!r}")
    return tokens[:, :, text_first : tokens.shape[2] - text_last]


def cfi(query, key, frames, *, layout="bhld", text_first=0, text_last=0):
    """Mean off-diagonal temporal attention of each batch row: [B] float32.

    Query and key are those that attention gets, after norm and rotary embedding; `text_first` and `text_last` tokens
    at either end of the sequence are left out. Tokens are frame-major: all positions of a frame, then the next frame.
    """
    query, key = (_video_tokens(t, layout, text_first, text_last) for t in (query, key))
    return torch.ops.eav.cfi(query, key, frames)


def gain(query, key, frames, weight=1.0, *, layout="bhld", text_first=0, text_last=0):
    """What the attention output of each batch row is multiplied by, max(1, CFI * (T + weight)): [B] float32."""
    return gain_of(cfi(query, key, frames, layout=layout, text_first=text_first, text_last=text_last), frames, weight)


def gain_of(cfi, frames, weight):
    return (cfi * (frames + weight)).clamp_min(1)


def attention_map(query, key, frames, *, layout="bhld", text_first=0, text_last=0):
    """Mean temporal attention map of each head: [B, heads, T, T] float32."""
    query, key = (_video_tokens(t, layout, text_first, text_last) for t in (query, key))
    return torch.ops.eav.attention_map(query, key, frames)
