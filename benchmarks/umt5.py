"""Times UMT5-XXL's blocks against transformers, alternating in one run, on random weights, with 512 tokens.

A block's time is a quarter of the difference of 8 blocks and 4 blocks.
Example: python benchmarks/umt5.py --types bfloat16
The whole encoder once, alone, of a file with holes in it, whose weights are zeros: seconds and peak memory
         python benchmarks/umt5.py --whole
"""

import json
import pathlib
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file, save_file
from side_by_side import alternate, forward_parser, least_and_peak, reference_loop

TOKENS = 512
XXL = {"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_heads": 64, "feed_forward_proj": "gated-gelu"}


def config(layers, vocabulary):
    return transformers.UMT5Config(num_layers=layers, vocab_size=vocabulary, **XXL)


def reference(folder, inputs, dtype, threads):
    torch.set_num_threads(threads)
    model = transformers.UMT5EncoderModel.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    ids = load_file(inputs)["ids"]
    mask = torch.ones_like(ids)

    def run():
        with torch.inference_mode():
            model(ids, attention_mask=mask)

    reference_loop(run)


def save_sparse(folder, config):
    """The checkpoint of such an encoder in bfloat16, of which no weight takes room on the disk."""
    with torch.device("meta"):
        tensors = transformers.UMT5EncoderModel(config).state_dict()
    del tensors["encoder.embed_tokens.weight"]  # a copy of shared.weight
    header, end = {}, 0
    for key, tensor in tensors.items():
        begin, end = end, end + 2 * tensor.numel()
        header[key] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [begin, end]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        file.truncate(8 + len(head) + end)
    config.save_pretrained(folder)


def main():
    parser = forward_parser(__doc__, reference_arguments=3)
    parser.set_defaults(types=["bfloat16"])
    parser.add_argument("--whole", action="store_true")
    options = parser.parse_args()
    if options.reference:
        return reference(*options.reference, options.threads)

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        inputs = folder / "inputs.safetensors"
        save_file({"ids": torch.randint(2, 1000, (1, TOKENS))}, inputs)
        if options.whole:
            (folder / "whole").mkdir()
            save_sparse(folder / "whole", config(24, 256384))
            command = [options.bench, options.threads, "t5", folder / "whole", inputs, "bfloat16"]
            ((seconds, memory),) = alternate({"eav": command}, 1, warm_up=False)["eav"]
            print(f"24 blocks, {TOKENS} tokens, bfloat16, {options.threads} threads: {seconds:.1f} s, opening included, "
                  f"at most {memory / 1024:.2f} GiB")  # fmt: skip
            return

        print(f"a block of UMT5-XXL, {TOKENS} tokens, {options.threads} threads, {options.rounds} rounds: seconds at best")
        print(f"{'':12}{'transformers':>14}{'eav':>8}{'ratio':>8}")
        for dtype in options.types:
            commands = {}
            for layers in (4, 8):
                model = folder / f"{layers}-{dtype}"
                torch.manual_seed(0)
                transformers.UMT5EncoderModel(config(layers, 1000)).to(getattr(torch, dtype)).save_pretrained(model)
                commands["transformers", layers] = [sys.executable, __file__, "--threads", options.threads,
                                                    "--reference", model, inputs, dtype]  # fmt: skip
                commands["eav", layers] = [options.bench, options.threads, "t5", model, inputs, dtype]
            least, _ = least_and_peak(alternate(commands, options.rounds))
            theirs, ours = ((least[name, 8] - least[name, 4]) / 4 for name in ("transformers", "eav"))
            print(f"{dtype:12}{theirs:14.3f}{ours:8.3f}{ours / theirs:8.3f}", flush=True)


if __name__ == "__main__":
    main()
