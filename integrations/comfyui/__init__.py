"""Enhance-A-Video for ComfyUI: stronger cross-frame attention in its own video models."""

from .nodes import EnhanceAVideo, EnhanceAVideoTrace

NODE_CLASS_MAPPINGS = {"EnhanceAVideo": EnhanceAVideo, "EnhanceAVideoTrace": EnhanceAVideoTrace}
NODE_DISPLAY_NAME_MAPPINGS = {"EnhanceAVideo": "Enhance-A-Video", "EnhanceAVideoTrace": "Enhance-A-Video Trace"}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
