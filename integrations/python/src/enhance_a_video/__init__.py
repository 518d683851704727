"""Enhance-A-Video: stronger cross-frame attention in video diffusion transformers, without training."""

from .enable import Entry, Handle, enable
from .operators import attention_map, cfi, gain

__all__ = ["Entry", "Handle", "attention_map", "cfi", "enable", "gain"]
