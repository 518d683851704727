"""Times a block of CogVideoX's transformer at 2B width against diffusers', alternating in one run, on random weights.

A block's time is half of the difference of 4 layers and 2 layers. 9 frames of 384x256 pixels, and a caption of 226 tokens.
Example: python benchmarks/transformer.py --rounds 7
"""

import sys
import tempfile

import torch
from diffusers import CogVideoXTransformer3DModel
from safetensors.torch import load_file, save_file
from side_by_side import alternate, forward_parser, least_and_peak, reference_loop


def reference(folder, inputs, dtype, threads):
    torch.set_num_threads(threads)
    model = CogVideoXTransformer3DModel.from_pretrained(folder, torch_dtype=getattr(torch, dtype)).eval()
    tensors = {name: tensor.to(model.dtype) for name, tensor in load_file(inputs).items()}
    timestep = torch.full((len(tensors["latents"]),), 500)

    def run():
        with torch.inference_mode():
            model(tensors["latents"], tensors["text"], timestep)

    reference_loop(run)


def main():
    parser = forward_parser(__doc__, reference_arguments=3)
    parser.add_argument("--batches", default=[1, 2], nargs="+", type=int)
    options = parser.parse_args()
    if options.reference:
        return reference(*options.reference, options.threads)

    print(f"a block at 2B width, {options.threads} threads, {options.rounds} rounds: seconds at best, and their ratios")
    print(f"{'':20}{'diffusers':>10}{'off':>8}{'on':>8}{'off/diffusers':>15}{'on/off':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for layers in (2, 4):
            torch.manual_seed(0)
            CogVideoXTransformer3DModel(num_layers=layers).save_pretrained(f"{folder}/{layers}")
        for batch in options.batches:
            inputs = f"{folder}/inputs{batch}.safetensors"
            save_file({"latents": torch.randn(batch, 3, 16, 32, 48), "text": torch.randn(batch, 226, 4096)}, inputs)
            for dtype in options.types:
                commands = {}
                for layers in (2, 4):
                    model = f"{folder}/{layers}"
                    commands["diffusers", layers] = [sys.executable, __file__, "--threads", options.threads,
                                                     "--reference", model, inputs, dtype]  # fmt: skip
                    for enhance in ("off", "on"):
                        commands[enhance, layers] = [options.bench, options.threads, "transformer", model, inputs, dtype, enhance]
                results = alternate(commands, options.rounds)
                # Differences of noisy times are noisier: of all rounds the least is taken.
                least, _ = least_and_peak(results)
                block = {name: (least[name, 4] - least[name, 2]) / 2 for name in ("diffusers", "off", "on")}
                whole = {name: least[name, 4] for name in block}
                for what, seconds in ((f"batch {batch}, {dtype}", block), ("  4 layers, whole", whole)):
                    print(f"{what:20}{seconds['diffusers']:10.3f}{seconds['off']:8.3f}{seconds['on']:8.3f}"
                          f"{seconds['off'] / seconds['diffusers']:15.3f}{seconds['on'] / seconds['off']:8.3f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
