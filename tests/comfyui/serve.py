"""Starts ComfyUI's main.py, also where torchvision and torchaudio are of another PyTorch build and lack their kernels.

`python serve.py <checkout of ComfyUI> <options of main.py>`. With EAV_HIDE_PACKAGE, the package enhance_a_video is not
to be found.
"""

import importlib.util
import os
import runpy
import sys

import torch

library = torch.library.Library("torchvision", "DEF")
for schema in (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
):
    try:
        library.define(schema)
    except RuntimeError:
        pass  # torchvision's own kernels are there

if os.environ.get("EAV_HIDE_PACKAGE"):
    find_spec = importlib.util.find_spec
    importlib.util.find_spec = lambda name, *rest: None if name == "enhance_a_video" else find_spec(name, *rest)
    sys.modules["enhance_a_video"] = None

comfyui = os.path.abspath(sys.argv[1])
sys.path.insert(0, comfyui)
sys.argv = [os.path.join(comfyui, "main.py"), *sys.argv[2:]]
runpy.run_path(sys.argv[0], run_name="__main__")
