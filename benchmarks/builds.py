"""Times two builds of eav_bench against each other, alternating in one run: a forward pass of each
family, enhanced, and two autoencoders' decoding, on random weights at real widths. Prints the median
of the rounds' ratios.

Example: python benchmarks/builds.py --before ../old/build/benchmarks/eav_bench --rounds 9
"""

import argparse
import pathlib
import statistics
import tempfile

import open_sora
import torch
from diffusers import CogVideoXTransformer3DModel, HunyuanVideoTransformer3DModel, LTXVideoTransformer3DModel
from safetensors.torch import save_file
from side_by_side import BENCH, alternate
from vae_decode import FAMILIES


def cogvideox(folder):
    CogVideoXTransformer3DModel(num_layers=2).save_pretrained(folder)
    return {"latents": torch.randn(2, 3, 16, 32, 48), "text": torch.randn(2, 226, 4096)}, "transformer", ["on"]


def hunyuan_video(folder):
    model = HunyuanVideoTransformer3DModel(num_layers=1, num_single_layers=2)
    model.save_pretrained(folder)
    text = torch.randn(1, 256, model.config.text_embed_dim), torch.randn(1, model.config.pooled_projection_dim)
    return {"latents": torch.randn(1, 16, 3, 40, 64), "text": text[0], "pooled": text[1]}, "hunyuan_video", ["on", 40]


def ltx_video(folder):
    LTXVideoTransformer3DModel(num_layers=2).save_pretrained(folder)
    return {"latents": torch.randn(2, 13 * 10 * 16, 128), "text": torch.randn(2, 128, 4096)}, "ltx_video", ["on", 13, 10, 16]


def stdit(folder):
    open_sora.save_checkpoint(folder)
    shape = 2, 4, open_sora.FRAMES, open_sora.ROWS, open_sora.COLUMNS
    text = torch.randn(2, 120, open_sora.CAPTION)
    return {"latents": torch.randn(shape), "text": text}, "open_sora", ["on", open_sora.HEIGHT, open_sora.WIDTH]


def vae(family):
    def make(folder):
        autoencoder, channels, _, config = FAMILIES[family]
        autoencoder(**config).save_pretrained(folder)
        return {"latents": torch.randn(1, channels, 3, 16, 24)}, "vae_decode", None

    return make


# Each saves a part of a model and gives its inputs, its name in eav_bench and, where it takes a type, what follows that.
CASES = {
    "CogVideoX": cogvideox,
    "HunyuanVideo": hunyuan_video,
    "LTX-Video": ltx_video,
    "Open-Sora": stdit,
    "CogVideoX's VAE": vae("cogvideox"),
    "HunyuanVideo's VAE": vae("hunyuan_video"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", required=True, type=pathlib.Path, help="eav_bench of the build to compare with")
    parser.add_argument("--after", default=BENCH, type=pathlib.Path)
    parser.add_argument("--rounds", default=9, type=int)
    parser.add_argument("--threads", default=2, type=int)
    parser.add_argument("--cases", default=list(CASES), nargs="+", choices=CASES)
    parser.add_argument("--types", default=["float32"], nargs="+", choices=["float32", "bfloat16"])
    options = parser.parse_args()

    print(f"{options.threads} threads, {options.rounds} rounds: least seconds, and the ratio after/before of the rounds")
    print(f"{'':28}{'before':>8}{'after':>8}{'median':>8}{'least':>8}{'most':>8}")
    for name in options.cases:
        with tempfile.TemporaryDirectory() as folder:
            torch.manual_seed(0)
            tensors, part, arguments = CASES[name](folder)
            inputs = f"{folder}/inputs.safetensors"
            save_file(tensors, inputs)
            for dtype in options.types if arguments is not None else ["float32"]:
                typed = [dtype, *arguments] if arguments is not None else []
                of = lambda bench: [bench, options.threads, part, folder, inputs, *typed]  # noqa: E731
                results = alternate({"before": of(options.before), "after": of(options.after)}, options.rounds)
                before, after = ([seconds for seconds, _ in results[build]] for build in ("before", "after"))
                ratios = sorted(b / a for a, b in zip(before, after, strict=True))
                print(f"{f'{name}, {dtype}':28}{min(before):8.3f}{min(after):8.3f}{statistics.median(ratios):8.3f}"
                      f"{ratios[0]:8.3f}{ratios[-1]:8.3f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
