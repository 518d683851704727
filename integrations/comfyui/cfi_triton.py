"""Cross-frame intensity as a Triton kernel: one pass over query and key as they lie, and no map in memory.

For CUDA tensors of ComfyUI's nodes and of the Python package, which carries a copy of this file. Triton comes with a
CUDA build of PyTorch. It is imported, and the kernel compiled, when the first layer needs it.
"""

import importlib.util
import logging
from functools import cache

import torch

DEVICES = ("cuda",)
LARGEST_HEAD = 256  # channels that a tile holds
TYPES = torch.float32, torch.bfloat16, torch.float16


@cache
def kernel():
    import triton
    import triton.language as tl

    @triton.jit
    def off_diagonal_mass(
        query, key, mass, frames, positions, heads, size, scale,
        query_batch, query_head, query_frame, query_position, query_channel,
        key_batch, key_head, key_frame, key_position, key_channel,
        BLOCK: tl.constexpr, CHANNELS: tl.constexpr,
    ):  # fmt: skip
        # What softmax(q k^T * scale) of one position and head, [T, T], has off its diagonal, summed over its rows. A
        # row's score with itself is kept apart from the sum of others, so that a map that is nearly one-hot keeps the
        # digits of what is off its diagonal.
        program = tl.program_id(0).to(tl.int64)
        head, position, batch = program % heads, program // heads % positions, program // heads // positions
        query += batch * query_batch + head * query_head + position * query_position
        key += batch * key_batch + head * key_head + position * key_position
        channel = tl.arange(0, CHANNELS).to(tl.int64)

        total = 0.0
        for first_row in range(0, frames, BLOCK):
            row = first_row + tl.arange(0, BLOCK).to(tl.int64)
            q = tl.load(
                query + row[:, None] * query_frame + channel[None, :] * query_channel,
                mask=(row[:, None] < frames) & (channel[None, :] < size),
                other=0,
            )  # [BLOCK, CHANNELS]
            highest = tl.full([BLOCK], float("-inf"), tl.float32)
            others = tl.zeros([BLOCK], tl.float32)  # sum of exp(score - highest) off the diagonal
            own = tl.zeros([BLOCK], tl.float32)  # the score on it
            for first_column in range(0, frames, BLOCK):
                column = first_column + tl.arange(0, BLOCK).to(tl.int64)
                k = tl.load(
                    key + column[None, :] * key_frame + channel[:, None] * key_channel,
                    mask=(column[None, :] < frames) & (channel[:, None] < size),
                    other=0,
                )  # [CHANNELS, BLOCK]
                scores = tl.dot(q, k, input_precision="ieee") * scale  # [BLOCK, BLOCK] float32
                diagonal = row[:, None] == column[None, :]
                own += tl.sum(tl.where(diagonal, scores, 0.0), 1)
                scores = tl.where(column[None, :] < frames, scores, float("-inf"))
                higher = tl.maximum(highest, tl.max(scores, 1))
                found = tl.where(diagonal, 0.0, tl.exp(scores - higher[:, None]))
                others = others * tl.exp(highest - higher) + tl.sum(found, 1)
                highest = higher
            off_diagonal = others / (others + tl.exp(own - highest))
            total += tl.sum(tl.where(row < frames, off_diagonal, 0.0), 0)
        tl.store(mass + program, total)

    return off_diagonal_mass


def cfi_per_head(query, key, frames):
    """[B, heads] float32 of query and key [B, heads, T*S, d] with any strides, T at least 2."""
    batch, heads, tokens, size = query.shape
    positions = tokens // frames
    mass = query.new_empty(batch, positions, heads, dtype=torch.float32)
    strides = (stride for x in (query, key) for stride in x.unflatten(2, (frames, positions)).stride())
    with torch.cuda.device_of(query):
        kernel()[(mass.numel(),)](
            query, key, mass, frames, positions, heads, size, size**-0.5, *strides,
            **tiles(frames, size, query.dtype == torch.float32),
        )  # fmt: skip
    return mass.sum(1).div_(tokens * (frames - 1))


def cfi(query, key, frames):
    """[B] float32, the mean over heads."""
    return cfi_per_head(query, key, frames).mean(1)


def tiles(frames, size, float32):
    """How the kernel is compiled: rows and columns of scores at a time, channels, and what runs a program."""
    block, channels = (max(16, 1 << (number - 1).bit_length()) for number in (frames, size))  # powers of two
    block = min(block, 32 if float32 else 64)
    return {"BLOCK": block, "CHANNELS": channels, "num_warps": 4 if block > 16 else 2, "num_stages": 1}


def serves(query, key, frames):
    """Whether the kernel takes these; what is no query and key at all, it leaves to others to say."""
    return (
        query.device.type in DEVICES
        and query.device == key.device
        and query.dtype == key.dtype in TYPES
        and query.dim() == 4
        and query.shape == key.shape
        and 0 < query.shape[3] <= LARGEST_HEAD
        and frames > 1
        and query.shape[2] % frames == 0
        and query.numel() > 0
    )


def or_else(function, otherwise):
    """`function`, one of those above, where the kernel serves and as long as it works; elsewhere `otherwise`."""
    works = importlib.util.find_spec("triton") is not None

    def either(query, key, frames):
        nonlocal works
        if works and serves(query, key, frames):
            try:
                return function(query, key, frames)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # no compiler of C, a GPU that Triton does not know: it raises many kinds
                works = False
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                logging.warning(f"Enhance-A-Video: its Triton kernel does not run ({reason}), PyTorch computes the gains")
        return otherwise(query, key, frames)

    return either
