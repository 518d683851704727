"""Times a forward pass of HunyuanVideo's transformer at real width against diffusers', alternating in one run, on random
weights: one dual-stream and two single-stream blocks of 24 heads of 128, 9 frames of 512x320 pixels.

The caption is padded to 256 tokens, as the pipeline pads it. Example: python benchmarks/hunyuan_video.py --rounds 6
"""

import sys
import tempfile

import torch
from diffusers import HunyuanVideoTransformer3DModel
from safetensors.torch import load_file, save_file
from side_by_side import alternate, forward_parser, least_and_peak, reference_loop

TOKENS = 256


def reference(folder, inputs, dtype, real_tokens, threads):
    torch.set_num_threads(threads)
    model = HunyuanVideoTransformer3DModel.from_pretrained(folder, torch_dtype=getattr(torch, dtype)).eval()
    tensors = {name: tensor.to(model.dtype) for name, tensor in load_file(inputs).items()}
    mask = (torch.arange(TOKENS) < int(real_tokens)).to(model.dtype).unsqueeze(0)
    guidance = torch.full((1,), 6000.0, dtype=model.dtype)

    def run():
        with torch.inference_mode():
            model(tensors["latents"], torch.full((1,), 500.0), tensors["text"], mask, tensors["pooled"], guidance)

    reference_loop(run)


def main():
    parser = forward_parser(__doc__, reference_arguments=4)
    parser.add_argument("--tokens", default=[40, 256], nargs="+", type=int, help="real tokens of the caption")
    options = parser.parse_args()
    if options.reference:
        return reference(*options.reference, options.threads)

    print(f"1 dual-stream and 2 single-stream blocks, {options.threads} threads, {options.rounds} rounds: seconds at best")
    print(f"{'':26}{'diffusers':>10}{'off':>8}{'on':>8}{'off/diffusers':>15}{'on/off':>8}{'peak MiB':>16}")
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        model = HunyuanVideoTransformer3DModel(num_layers=1, num_single_layers=2)
        model.save_pretrained(folder)
        config = model.config
        del model
        inputs = f"{folder}/inputs.safetensors"
        save_file({"latents": torch.randn(1, 16, 3, 40, 64), "text": torch.randn(1, TOKENS, config.text_embed_dim),
                   "pooled": torch.randn(1, config.pooled_projection_dim)}, inputs)  # fmt: skip
        for dtype in options.types:
            for tokens in options.tokens:
                commands = {"diffusers": [sys.executable, __file__, "--threads", options.threads,
                                          "--reference", folder, inputs, dtype, tokens]}  # fmt: skip
                for enhance in ("off", "on"):
                    commands[enhance] = [options.bench, options.threads, "hunyuan_video", folder, inputs, dtype, enhance, tokens]
                results = alternate(commands, options.rounds)
                least, peak = least_and_peak(results)
                print(f"{f'{tokens} real tokens, {dtype}':26}{least['diffusers']:10.3f}{least['off']:8.3f}{least['on']:8.3f}"
                      f"{least['off'] / least['diffusers']:15.3f}{least['on'] / least['off']:8.3f}"
                      f"{peak['off']:9.0f}/{peak['diffusers']:.0f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
