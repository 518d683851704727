"""Cross-frame intensity and gain of a query and a key."""

import importlib.util
import itertools
import logging
from functools import cache
from pathlib import Path

import torch

from . import cfi_triton

# Floats that a piece of the PyTorch path holds at most, beside one spatial position. A GPU takes as long to start a
# small one as to compute it.
PIECE, PIECE_ON_GPU = 1 << 23, 1 << 26


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
    return measured(query.detach(), key.detach(), frames)


@torch.library.custom_op("eav_comfyui::cfi", mutates_args=())
def measured(query: torch.Tensor, key: torch.Tensor, frames: int) -> torch.Tensor:
    """An operator, which torch.compile takes as it stands."""
    return fastest()(query, key, frames)


@measured.register_fake
def _(query, key, frames):
    return query.new_empty(query.shape[0], dtype=torch.float32)


@cache
def fastest():
    """The Triton kernel for a GPU; else the compiled operator, or PyTorch."""
    return cfi_triton.or_else(cfi_triton.cfi, operator() or cfi_in_pieces)


def cfi_in_pieces(query, key, frames):
    """The same in PyTorch, a few spatial positions at a time: full temporal maps never exist.

    Rows of a softmax sum to 1, so the mean off the diagonal follows from the diagonal's.
    """
    batch, heads, tokens, size = query.shape
    positions = tokens // frames
    piece = PIECE if query.device.type == "cpu" else PIECE_ON_GPU
    step = max(1, piece // (heads * frames * (2 * size + 2 * frames)))
    # Positions and heads are one axis: of tokens that lie one by one, as attention's do, a view.
    query, key = (x.unflatten(2, (frames, positions)).permute(0, 3, 1, 2, 4) for x in (query, key))
    diagonal = torch.zeros(batch, device=query.device, dtype=torch.float32)
    with torch.autocast(query.device.type, enabled=False):
        for row, first in itertools.product(range(batch), range(0, positions, step)):
            q, k = (x[row, first : first + step].flatten(0, 1).float() for x in (query, key))  # [S * heads, T, d]
            maps = torch.bmm(q * size**-0.5, k.mT).softmax(-1)
            diagonal[row].add_(maps.diagonal(dim1=-2, dim2=-1).sum())
    return (1 - diagonal / (heads * tokens)) / (frames - 1)


def gain_of(cfi, frames, weight):
    """What attention's output is multiplied by: [B], of CFI [B]."""
    return (cfi * (frames + weight)).clamp_min(1)
