"""Cross-frame intensity and gain of a query and a key."""

import importlib.util
import logging
from functools import cache
from pathlib import Path

import torch

PIECE = 1 << 23  # floats that a piece of the PyTorch path holds at most, beside one spatial position


@cache
def operator():
    """The compiled operator of the package enhance_a_video, or None where it is not installed or does not load.

    Only its library is loaded: the package itself imports diffusers, which ComfyUI has no use for.
    """
    package = importlib.util.find_spec("enhance_a_video")
    folders = (package and package.submodule_search_locations) or []
    libraries = [library for folder in folders for library in Path(folder).glob("_operators.*")]
    if not libraries:
        logging.info("Enhance-A-Video: the package enhance_a_video is not installed, PyTorch computes the gains")
        return None
    try:
        torch.ops.load_library(libraries[0])
        return torch.ops.eav.cfi.default
    except (OSError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        logging.warning(f"Enhance-A-Video: {libraries[0].name} does not load ({reason}), PyTorch computes the gains")
        return None


def cfi(query, key, frames):
    """Mean off-diagonal temporal attention of each batch row: [B] float32.

    Query and key are those that attention gets, after norm and rotary embedding, [B, heads, T*S, d], frame-major.
    """
    query, key = query.detach(), key.detach()
    compiled = operator()
    return cfi_in_pieces(query, key, frames) if compiled is None else compiled(query, key, frames)


def cfi_in_pieces(query, key, frames):
    """The same in PyTorch, a few spatial positions at a time: full temporal maps never exist.

    Rows of a softmax sum to 1, so the mean off the diagonal follows from the diagonal's.
    """
    batch, heads, tokens, size = query.shape
    positions = tokens // frames
    query, key = (x.unflatten(2, (frames, positions)).transpose(2, 3) for x in (query, key))  # [B, heads, S, T, d]
    step = max(1, PIECE // (batch * heads * frames * (2 * size + 2 * frames)))
    diagonal = torch.zeros(batch, device=query.device, dtype=torch.float32)
    with torch.autocast(query.device.type, enabled=False):
        for first in range(0, positions, step):
            q, k = (x[:, :, first : first + step].float() for x in (query, key))
            scores = (q * size**-0.5) @ k.transpose(-1, -2)  # [B, heads, s, T, T]
            kept = scores.diagonal(dim1=-2, dim2=-1) - scores.logsumexp(-1)  # log of the diagonal of the softmax
            diagonal += kept.exp().sum((1, 2, 3))
    return (1 - diagonal / (heads * tokens)) / (frames - 1)


def gain_of(cfi, frames, weight):
    """What attention's output is multiplied by: [B], of CFI [B]."""
    return (cfi * (frames + weight)).clamp_min(1)
