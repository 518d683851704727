"""What `eav convert` takes at full size, and what a transformer takes in each type: on the folder of Wan 2.1's 1.3B that
tests/released_folders.py makes, whose weights are zeros, UMT5-XXL's 11 GB among them.

A transformer's memory beside its file is what a forward pass takes in all, less the same with the smallest file, to the
difference of the files: activations, and what the process itself has, drop out. With --python, a Python that has
stable-diffusion-cpp-python, that program opens each type's files and makes a picture of them.
Example: python benchmarks/convert.py --configurations configurations --folder /tmp/converted
"""

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from side_by_side import BENCH, alternate

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from released_folders import make, run  # noqa: E402

RELEASE = "Wan2.1-T2V-1.3B"
SUFFIXES = {"bfloat16": "safetensors", "fp8": "safetensors", "q8_0": "gguf", "q4_k": "gguf"}
THEIRS = """
import sys
from stable_diffusion_cpp import StableDiffusion
transformer, encoder, vae = sys.argv[1:]
frames = StableDiffusion(diffusion_model_path=transformer, t5xxl_path=encoder, vae_path=vae, n_threads=2).generate_video(
    prompt="a cat", width=64, height=64, video_frames=1, sample_steps=1, cfg_scale=1.0, seed=1)
assert len(frames) >= 1 and frames[0].size == (64, 64)
"""


def theirs(python, files):
    command = [python, "-c", THEIRS, *(files[part] for part in ("transformer", "text_encoder", "vae"))]
    begin, process = time.time(), subprocess.run(list(map(str, command)), capture_output=True, text=True, errors="replace")
    lines = [line for line in (process.stdout + process.stderr).splitlines() if "ERROR" in line or "unknown tensor" in line]
    good = process.returncode == 0 and not lines
    return "opens" if good else f"fails: {lines[:3] or process.stderr[-300:]}", time.time() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configurations", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="for 11 GB of files and less; emptied")
    parser.add_argument("--program", type=Path, default=Path(__file__).resolve().parents[1] / "build/eav")
    parser.add_argument("--bench", default=BENCH, type=Path)
    parser.add_argument("--python", type=Path)
    parser.add_argument("--types", default=list(SUFFIXES), nargs="+", choices=list(SUFFIXES))
    options = parser.parse_args()
    shutil.rmtree(options.folder, ignore_errors=True)
    model, _ = make(RELEASE, options.configurations, options.folder, "released")
    inputs = options.folder / "inputs.safetensors"
    save_file({"latents": torch.randn(1, 16, 5, 34, 60), "text": torch.zeros(1, 256, 4096)}, inputs)
    peaks, sizes = {}, {}
    for kind in options.types:
        suffix = SUFFIXES[kind]
        good, seconds, memory, message = run(options.program, "convert", model, "--type", kind, "--out", options.folder / f"x.{suffix}")
        files = {file.stem.removeprefix("x-"): file for file in options.folder.glob("x-*")}
        size = sum(file.stat().st_size for file in files.values()) / 1e9
        print(f"convert to {kind}: {seconds:.0f} s, {memory:.2f} GB of memory, {size:.2f} GB of files {message}", flush=True)
        if options.python and good:
            said, seconds = theirs(options.python, files)
            print(f"  stable-diffusion.cpp {said} ({seconds:.0f} s)", flush=True)
        folder = options.folder / kind
        folder.mkdir()
        shutil.copy(model / "transformer" / "config.json", folder)
        sizes[kind] = files["transformer"].stat().st_size / 2**20
        files["transformer"].rename(folder / f"diffusion_pytorch_model.{suffix}")
        for file in options.folder.glob("x-*"):
            file.unlink()
        command = [options.bench, 2, "wan", folder, inputs, "bfloat16", "off"]
        peaks[kind] = alternate({kind: command}, 1, warm_up=False)[kind][0][1]
        print(f"  forward, 2,550 tokens: {peaks[kind]:.0f} MiB, the file {sizes[kind]:.0f} MiB", flush=True)
    least = min(sizes, key=sizes.get)
    for kind in peaks.keys() - {least}:
        print(f"{kind} to {least}: memory to file {(peaks[kind] - peaks[least]) / (sizes[kind] - sizes[least]):.3f}")


if __name__ == "__main__":
    main()
