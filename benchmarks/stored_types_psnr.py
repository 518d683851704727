"""PSNR of the demo's video with its transformer and text encoder stored in each type against the video in float32.

Example: python benchmarks/stored_types_psnr.py --seeds 3
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PROMPT = "a red circle moving right on a gray background"
STEMS = {"transformer": "diffusion_pytorch_model", "text_encoder": "model"}


def frames(model, out, seed):
    shutil.rmtree(out, ignore_errors=True)
    command = [ROOT / "build" / "eav", "generate", PROMPT, "--model", model, "--seed", str(seed), "--out", f"{out}/"]
    subprocess.run(command, check=True, capture_output=True)
    return np.stack([np.asarray(Image.open(file), dtype=np.float64) for file in sorted(Path(out).glob("*.png"))])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=ROOT / "models" / "demo", type=Path)
    parser.add_argument("--types", default=["bfloat16", "fp8", "q8_0", "q4_k"], nargs="+")
    parser.add_argument("--seeds", default=3, type=int)
    options = parser.parse_args()
    print(f"{'type':10}{'transformer':>12}{'PSNR of every seed':>40}")
    with tempfile.TemporaryDirectory() as folder:
        plain = [frames(options.model, f"{folder}/frames", seed) for seed in range(options.seeds)]
        for kind in options.types:
            suffix = "safetensors" if kind in ("bfloat16", "fp8") else "gguf"
            model = Path(folder) / kind
            shutil.copytree(options.model, model, ignore=shutil.ignore_patterns("train"))
            subprocess.run([ROOT / "build" / "eav", "convert", options.model, "--type", kind, "--out", f"{folder}/x.{suffix}"],
                           check=True, capture_output=True)  # fmt: skip
            for part, stem in STEMS.items():
                (model / part / f"{stem}.safetensors").unlink()
                shutil.move(f"{folder}/x-{part}.{suffix}", model / part / f"{stem}.{suffix}")
            for rest in Path(folder).glob("x-*"):
                rest.unlink()
            size = (model / "transformer" / f"diffusion_pytorch_model.{suffix}").stat().st_size
            values = [10 * np.log10(255**2 / max(np.mean((frames(model, f"{folder}/frames", seed) - plain[seed]) ** 2), 1e-12))
                      for seed in range(options.seeds)]  # fmt: skip
            print(f"{kind:10}{size / 2**20:9.2f} MiB   " + "  ".join(f"{value:.1f} dB" for value in values), flush=True)


if __name__ == "__main__":
    main()
