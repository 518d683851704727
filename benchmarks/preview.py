"""How near a preview of the last step comes to the video, beside the best linear map that there is for that very video.

    python benchmarks/preview.py [--model models/demo] [--prompts 64]

PSNR of latent frames' colours to the mean of the frames that each stands for, shrunk to the latents' size. Asked for is
that of no video is more than 2 dB below that of the best map, which is fitted by least squares on the video itself.
"""

import argparse
import itertools
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

ROOT = Path(__file__).parents[1]


def shrunk(frames, size):
    """[T, H, W, 3] -> [F, h, w, 3], means; the first latent frame stands for one frame."""
    count, height, width = size
    ratio = (len(frames) - 1) // (count - 1) if count > 1 else len(frames)
    first = len(frames) - (count - 1) * ratio
    parts = [frames[:first], *np.split(frames[first:], count - 1)] if count > 1 else [frames]
    means = np.stack([part.mean(0) for part in parts])
    down = means.shape[1] // height
    return means.reshape(count, height, down, width, down, 3).mean((2, 4))


def psnr(a, b):
    return 10 * np.log10(1 / max(float(((a - b) ** 2).mean()), 1e-10))


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--program", default=ROOT / "build" / "eav")
parser.add_argument("--model", default=ROOT / "models" / "demo", help="CogVideoX")
parser.add_argument("--prompts", type=int, default=64)
options = parser.parse_args()

words = itertools.product(("red", "green", "blue", "yellow", "white", "purple"), ("circle", "square", "triangle"),
                          ("right", "left", "up", "down"), ("gray", "black"))  # fmt: skip
prompts = ["a {} {} moving {} on a {} background".format(*w) for w in words]
prompts = prompts[:: max(len(prompts) // options.prompts, 1)][: options.prompts]

with tempfile.TemporaryDirectory() as folder:
    folder = Path(folder)
    (folder / "prompts.txt").write_text("\n".join(prompts))
    subprocess.run([options.program, "generate", "--model", options.model, "--prompt-file", folder / "prompts.txt",
                    "--seed", "1", "--out", f"{folder}/video/", "--save-latents", folder / "l.safetensors",
                    "--preview", folder / "preview.png", "--preview-every", "0"],
                   check=True, stdout=subprocess.DEVNULL, env={**os.environ, "XDG_CACHE_HOME": str(folder)})  # fmt: skip
    (kept,) = (folder / "enhance-a-video" / "preview").iterdir()
    colors = load_file(kept)["map"].double().numpy()

    below = []
    for i in range(len(prompts)):
        latents = load_file(folder / f"l-{i:03}.safetensors")["latents"][0].double()  # [F, C, h, w]
        latents = latents.permute(0, 2, 3, 1).numpy()
        files = sorted((folder / f"video-{i:03}").glob("*.png"))
        video = shrunk(np.stack([np.asarray(Image.open(f)) / 255 for f in files]), latents.shape[:3])
        known = np.concatenate([latents, np.ones_like(latents[..., :1])], -1).reshape(-1, latents.shape[-1] + 1)
        best = np.linalg.lstsq(known, video.reshape(-1, 3), rcond=None)[0]
        shown = (known @ colors).reshape(video.shape).clip(0, 1)
        found, most = psnr(shown, video), psnr((known @ best).reshape(video.shape).clip(0, 1), video)
        below.append(most - found)
        print(f"{i:3} {found:6.2f} dB, best {most:6.2f} dB, {most - found:5.2f} below  {prompts[i]}")
    file = np.asarray(Image.open(folder / "preview.png")) / 255  # of the last video
    side = file.shape[0] // shown.shape[1]
    print(f"the file differs from the map by at most {np.abs(file[::side, ::side] - shown[len(shown) // 2]).max():.4f}")
    print(f"below the best map: mean {np.mean(below):.2f} dB, most {max(below):.2f} dB of {len(below)} videos")
