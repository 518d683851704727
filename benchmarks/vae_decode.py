"""Times the decoder of a family's autoencoder against diffusers', alternating in one run, on random weights.

Example: python benchmarks/vae_decode.py --size 192x128 --latent-frames 3
         python benchmarks/vae_decode.py --family wan2.1 --size 256x256 --latent-frames 9
The program in bfloat16 against itself in float32:
         python benchmarks/vae_decode.py --bfloat16
Without the reference, which takes several times the memory, and without a warm-up:
         python benchmarks/vae_decode.py --family hunyuan_video --size 544x960 --latent-frames 5 --alone
"""

import argparse
import pathlib
import statistics
import sys
import tempfile

import torch
from diffusers import AutoencoderKLCogVideoX, AutoencoderKLHunyuanVideo, AutoencoderKLWan
from safetensors.torch import load_file, save_file
from side_by_side import BENCH, alternate, median_ratio, reference_loop

def of_blocks(name, channels):
    """A configuration with a block of this kind at each resolution."""
    return {
        "block_out_channels": tuple(channels),
        "down_block_types": (f"{name}DownBlock3D",) * len(channels),
        "up_block_types": (f"{name}UpBlock3D",) * len(channels),
    }


WAN_22 = {"base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "is_residual": True, "patch_size": 2, "in_channels": 12,
          "out_channels": 12, "scale_factor_spatial": 16, "latents_mean": [0.0] * 48, "latents_std": [1.0] * 48}  # fmt: skip

# The class, channels of its latents, pixels along a side of their positions, and the released configuration.
FAMILIES = {
    "cogvideox": (AutoencoderKLCogVideoX, 16, 8, of_blocks("CogVideoX", [128, 256, 256, 512])),
    "hunyuan_video": (AutoencoderKLHunyuanVideo, 16, 8, of_blocks("HunyuanVideo", [128, 256, 512, 512])),
    "wan2.1": (AutoencoderKLWan, 16, 8, {"latents_mean": [0.0] * 16, "latents_std": [1.0] * 16}),
    "wan2.2": (AutoencoderKLWan, 48, 16, WAN_22),
}


def reference(family, folder, threads, tiling):
    torch.set_num_threads(threads)
    vae = FAMILIES[family][0].from_pretrained(folder).eval()
    vae.encoder = None  # not needed, and not counted
    if tiling:
        vae.enable_tiling()
    latents = load_file(f"{folder}/latents.safetensors")["latents"]

    def run():
        with torch.inference_mode():
            vae.decode(latents)

    reference_loop(run)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default=BENCH, type=pathlib.Path)
    parser.add_argument("--family", default="cogvideox", choices=FAMILIES)
    parser.add_argument("--size", default="192x128", help="of the video in pixels")
    parser.add_argument("--latent-frames", default=3, type=int)
    parser.add_argument("--rounds", default=5, type=int)
    parser.add_argument("--threads", default=2, type=int)
    parser.add_argument("--tiling", action="store_true")
    parser.add_argument("--bfloat16", action="store_true", help="in place of diffusers")
    parser.add_argument("--alone", action="store_true", help="one decoding, without the reference")
    parser.add_argument("--reference", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reference:
        return reference(options.family, options.reference, options.threads, options.tiling)

    autoencoder, channels, scale, config = FAMILIES[options.family]
    height, width = (int(n) // scale for n in options.size.split("x"))
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        autoencoder(**config).save_pretrained(folder)
        latents = f"{folder}/latents.safetensors"
        save_file({"latents": torch.randn(1, channels, options.latent_frames, height, width)}, latents)

        threads, tiling = str(options.threads), ["--tiling"] * options.tiling
        commands = {
            "diffusers": [
                *[sys.executable, __file__, "--family", options.family],
                *["--reference", folder, "--threads", threads, *tiling],
            ],
            "eav": [options.bench, threads, "vae_decode", folder, latents, *tiling],
        }
        if options.bfloat16:
            commands = {"float32": commands["eav"], "bfloat16": [*commands["eav"], "--bfloat16"]}
        if options.alone:
            del commands["diffusers"]
        runs = alternate(commands, 1 if options.alone else options.rounds, warm_up=not options.alone)

    print(f"{options.latent_frames} latent frames, {options.size} pixels, {options.threads} threads, {options.rounds} rounds")
    print(f"{'':12}{'median s':>10}{'minimum s':>11}{'peak MiB':>10}")
    for name, results in runs.items():
        seconds = [r[0] for r in results]
        print(f"{name:12}{statistics.median(seconds):10.3f}{min(seconds):11.3f}{results[-1][1]:10.0f}")
    if options.alone:
        return
    theirs, ours = runs.values()
    ratio = median_ratio([run[0] for run in ours], [run[0] for run in theirs])
    print(f"{'ratio':12}{ratio:10.3f}{'':11}{ours[-1][1] / theirs[-1][1]:10.3f}")


if __name__ == "__main__":
    main()
