"""Times the decoder of CogVideoX's autoencoder against diffusers', alternating in one run, on random weights.

Example: python benchmarks/vae_decode.py --bench build/benchmarks/eav_bench --size 192x128 --latent-frames 3
"""

import argparse
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import torch
from diffusers import AutoencoderKLCogVideoX
from safetensors.torch import load_file, save_file

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]


def reference(folder, threads, tiling):
    """Answers like eav_bench, with diffusers. A process of its own, so that its peak memory is its own."""
    torch.set_num_threads(threads)
    vae = AutoencoderKLCogVideoX.from_pretrained(folder).eval()
    vae.encoder = None  # not needed, and not counted
    if tiling:
        vae.enable_tiling()
    latents = load_file(f"{folder}/latents.safetensors")["latents"]
    for _ in sys.stdin:
        start = time.perf_counter()
        with torch.inference_mode():
            vae.decode(latents)
        seconds = time.perf_counter() - start
        # getrusage() would count what the parent held when it started this process
        peak = re.search(r"VmHWM:\s+(\d+)", pathlib.Path("/proc/self/status").read_text())
        print(f"{seconds:.6f} {int(peak[1]) / 1024:.1f}", flush=True)


def once(process):
    process.stdin.write("run\n")
    process.stdin.flush()
    return [float(number) for number in process.stdout.readline().split()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default=REPOSITORY / "build" / "benchmarks" / "eav_bench", type=pathlib.Path)
    parser.add_argument("--size", default="192x128", help="of the video, as latents times 8 (24x16 latents)")
    parser.add_argument("--latent-frames", default=3, type=int)
    parser.add_argument("--channels", default=[128, 256, 256, 512], nargs="+", type=int)
    parser.add_argument("--rounds", default=5, type=int)
    parser.add_argument("--threads", default=2, type=int)
    parser.add_argument("--tiling", action="store_true")
    parser.add_argument("--reference", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reference:
        return reference(options.reference, options.threads, options.tiling)

    levels = len(options.channels)
    height, width = (int(n) // 2 ** (levels - 1) for n in options.size.split("x"))
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        AutoencoderKLCogVideoX(
            block_out_channels=tuple(options.channels),
            down_block_types=("CogVideoXDownBlock3D",) * levels,
            up_block_types=("CogVideoXUpBlock3D",) * levels,
            norm_num_groups=min(32, options.channels[0]),
        ).save_pretrained(folder)
        latents = f"{folder}/latents.safetensors"
        save_file({"latents": torch.randn(1, 16, options.latent_frames, height, width)}, latents)

        threads, tiling = str(options.threads), ["--tiling"] * options.tiling
        commands = {
            "diffusers": [sys.executable, __file__, "--reference", folder, "--threads", threads, *tiling],
            "eav": [options.bench, threads, "vae_decode", folder, latents, *tiling],
        }
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        processes = {name: subprocess.Popen(command, **pipes) for name, command in commands.items()}
        runs = {name: [] for name in processes}
        for _ in range(options.rounds):
            for name, process in processes.items():
                runs[name].append(once(process))
        for process in processes.values():
            process.stdin.close()
            process.wait()

    print(f"{options.latent_frames} latent frames, {options.size} pixels, {options.threads} threads, {options.rounds} rounds")
    print(f"{'':12}{'median s':>10}{'minimum s':>11}{'peak MiB':>10}")
    for name, results in runs.items():
        seconds = [r[0] for r in results]
        print(f"{name:12}{statistics.median(seconds):10.3f}{min(seconds):11.3f}{results[-1][1]:10.0f}")
    ratios = [ours[0] / theirs[0] for ours, theirs in zip(runs["eav"], runs["diffusers"])]
    print(f"{'ratio':12}{statistics.median(ratios):10.3f}{min(ratios):11.3f}{runs['eav'][-1][1] / runs['diffusers'][-1][1]:10.3f}")


if __name__ == "__main__":
    main()
