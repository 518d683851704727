"""Times a forward pass of LTX-Video's transformer at real width against diffusers', alternating in one run, on random
weights: two blocks of 32 heads of 64, 97 frames of 512x320 pixels, a caption of 128 tokens.

Example: python benchmarks/ltx_video.py --rounds 6
"""

import sys
import tempfile

import torch
from diffusers import LTXVideoTransformer3DModel
from safetensors.torch import load_file, save_file
from side_by_side import alternate, forward_parser, least_and_peak, reference_loop

FRAMES, HEIGHT, WIDTH = 13, 10, 16  # latent ones


def reference(folder, inputs, dtype, threads):
    torch.set_num_threads(threads)
    model = LTXVideoTransformer3DModel.from_pretrained(folder, torch_dtype=getattr(torch, dtype)).eval()
    tensors = {name: tensor.to(model.dtype) for name, tensor in load_file(inputs).items()}
    batch = len(tensors["latents"])
    mask = torch.ones(tensors["text"].shape[:2], dtype=torch.bool)

    def run():
        with torch.inference_mode():
            model(tensors["latents"], tensors["text"], torch.full((batch,), 500.0), mask, FRAMES, HEIGHT, WIDTH, (8 / 25, 32, 32))

    reference_loop(run)


def main():
    parser = forward_parser(__doc__, reference_arguments=3)
    parser.add_argument("--batches", default=[1, 2], nargs="+", type=int)
    options = parser.parse_args()
    if options.reference:
        return reference(*options.reference, options.threads)

    print(f"2 blocks, {options.threads} threads, {options.rounds} rounds: seconds at best")
    print(f"{'':20}{'diffusers':>10}{'off':>8}{'on':>8}{'off/diffusers':>15}{'on/off':>8}{'peak MiB':>16}")
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        LTXVideoTransformer3DModel(num_layers=2).save_pretrained(folder)
        for batch in options.batches:
            inputs = f"{folder}/inputs{batch}.safetensors"
            save_file({"latents": torch.randn(batch, FRAMES * HEIGHT * WIDTH, 128), "text": torch.randn(batch, 128, 4096)}, inputs)
            for dtype in options.types:
                commands = {"diffusers": [sys.executable, __file__, "--threads", options.threads,
                                          "--reference", folder, inputs, dtype]}  # fmt: skip
                for enhance in ("off", "on"):
                    commands[enhance] = [options.bench, options.threads, "ltx_video", folder, inputs, dtype, enhance,
                                         FRAMES, HEIGHT, WIDTH]  # fmt: skip
                results = alternate(commands, options.rounds)
                least, peak = least_and_peak(results)
                print(f"{f'batch {batch}, {dtype}':20}{least['diffusers']:10.3f}{least['off']:8.3f}{least['on']:8.3f}"
                      f"{least['off'] / least['diffusers']:15.3f}{least['on'] / least['off']:8.3f}"
                      f"{peak['off']:9.0f}/{peak['diffusers']:.0f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
