"""Times a block of Wan's transformer at 1.3B's width against diffusers', alternating in one run, on random weights: 12 heads
of 128, a feed-forward layer of 8960, 21 latent frames of 240x416 pixels (8,190 tokens), 512 tokens of text.

A block's time is half the difference of a pass through 4 blocks and one through 2.
Example: python benchmarks/wan.py --types float32 bfloat16 --rounds 3
"""

import sys
import tempfile

import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import load_file, save_file
from side_by_side import alternate, forward_parser, least_and_peak, reference_loop

WIDTH_1_3B = {"num_attention_heads": 12, "attention_head_dim": 128, "ffn_dim": 8960}


def reference(folder, inputs, dtype, threads):
    torch.set_num_threads(threads)
    model = WanTransformer3DModel.from_pretrained(folder, torch_dtype=getattr(torch, dtype)).eval()
    tensors = {name: tensor.to(getattr(torch, dtype)) for name, tensor in load_file(inputs).items()}

    def run():
        with torch.inference_mode():
            model(tensors["latents"], torch.full((1,), 500.0), tensors["text"])

    reference_loop(run)


def main():
    parser = forward_parser(__doc__, reference_arguments=3)
    parser.add_argument("--size", default=[21, 30, 52], nargs=3, type=int, help="latent frames, rows and columns")
    options = parser.parse_args()
    if options.reference:
        return reference(*options.reference, options.threads)

    print(f"{options.threads} threads, {options.rounds} rounds: seconds of a block at best")
    print(f"{'':12}{'diffusers':>10}{'off':>8}{'on':>8}{'off/diffusers':>15}{'on/off':>8}")
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        inputs = f"{folder}/inputs.safetensors"
        save_file({"latents": torch.randn(1, 16, *options.size), "text": torch.randn(1, 512, 4096)}, inputs)
        for layers in (2, 4):
            WanTransformer3DModel(num_layers=layers, **WIDTH_1_3B).save_pretrained(f"{folder}/{layers}")
        for dtype in options.types:
            commands = {}
            for layers in (2, 4):
                model = f"{folder}/{layers}"
                commands["diffusers", layers] = [sys.executable, __file__, "--threads", options.threads, "--reference", model, inputs, dtype]
                for enhance in ("off", "on"):
                    commands[enhance, layers] = [options.bench, options.threads, "wan", model, inputs, dtype, enhance]
            least, _ = least_and_peak(alternate(commands, options.rounds))
            block = {name: (least[name, 4] - least[name, 2]) / 2 for name in ("diffusers", "off", "on")}
            print(f"{dtype:12}{block['diffusers']:10.3f}{block['off']:8.3f}{block['on']:8.3f}"
                  f"{block['off'] / block['diffusers']:15.3f}{block['on'] / block['off']:8.3f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
