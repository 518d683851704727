"""Times blocks of transformers at the sizes that people run against diffusers', alternating in one run, on random weights.

A CogVideoX-2B block at 49 frames of 720x480, an LTX-Video block at 97 frames of 704x480, and a dual-stream and a
single-stream block of HunyuanVideo at 61 frames of 960x544, one video, enhanced. Medians of 3 rounds, of 2 for HunyuanVideo,
which --quick leaves out. The share of CFI is its own time by that of the block. Half an hour on two cores, without --quick more.

Examples: python benchmarks/full_size.py --quick
          python benchmarks/full_size.py --small          # a try, in a minute
          python benchmarks/full_size.py --growth --picture docs/images/growth.svg
"""

import argparse
import json
import statistics
import sys
import tempfile

import numpy
import torch
from diffusers import CogVideoXTransformer3DModel, HunyuanVideoTransformer3DModel, LTXVideoTransformer3DModel
from safetensors.torch import load_file, save_file
from side_by_side import BENCH, alternate, block_loop


class CogVideoX:
    name, kinds, part, rounds = "CogVideoX-2B", ["block"], "transformer", 3
    heads, head_size, text, first = 30, 64, 226, 226  # text tokens in a block, and the place of the video's first
    full, small = (49, 480, 720), (9, 256, 384)

    @staticmethod
    def model():
        return CogVideoXTransformer3DModel(num_layers=1)

    @staticmethod
    def grid(frames, height, width):
        return (frames - 1) // 4 + 1, height // 16 * (width // 16)

    @staticmethod
    def inputs(frames, height, width):
        return {"latents": torch.randn(1, (frames - 1) // 4 + 1, 16, height // 8, width // 8), "text": torch.randn(1, 226, 4096)}

    @staticmethod
    def arguments(frames, height, width):
        return []

    @staticmethod
    def call(model, tensors, size):
        model(tensors["latents"], tensors["text"], torch.full((1,), 500))

    @staticmethod
    def blocks(model):
        return [model.transformer_blocks[0]]


class LTXVideo:
    name, kinds, part, rounds = "LTX-Video", ["block"], "ltx_video", 3
    heads, head_size, text, first = 32, 64, 0, 0
    full, small = (97, 480, 704), (33, 256, 384)

    @staticmethod
    def model():
        return LTXVideoTransformer3DModel(num_layers=1)

    @staticmethod
    def grid(frames, height, width):
        return (frames - 1) // 8 + 1, height // 32 * (width // 32)

    @staticmethod
    def inputs(frames, height, width):
        token_frames, positions = LTXVideo.grid(frames, height, width)
        return {"latents": torch.randn(1, token_frames * positions, 128), "text": torch.randn(1, 128, 4096)}

    @staticmethod
    def arguments(frames, height, width):
        return [(frames - 1) // 8 + 1, height // 32, width // 32]

    @staticmethod
    def call(model, tensors, size):
        mask = torch.ones(tensors["text"].shape[:2], dtype=torch.bool)
        model(tensors["latents"], tensors["text"], torch.full((1,), 500.0), mask, *LTXVideo.arguments(*size), (8 / 25, 32, 32))

    @staticmethod
    def blocks(model):
        return [model.transformer_blocks[0]]


class HunyuanVideo:
    name, kinds, part, rounds = "HunyuanVideo", ["single-stream", "dual-stream"], "hunyuan_video", 2
    heads, head_size, text, first = 24, 128, 256, 0
    full, small = (61, 544, 960), (9, 256, 384)

    @staticmethod
    def model():
        return HunyuanVideoTransformer3DModel(num_layers=1, num_single_layers=1)

    @staticmethod
    def grid(frames, height, width):
        return (frames - 1) // 4 + 1, height // 16 * (width // 16)

    @staticmethod
    def inputs(frames, height, width):
        latents = torch.randn(1, 16, (frames - 1) // 4 + 1, height // 8, width // 8)
        return {"latents": latents, "text": torch.randn(1, 256, 4096), "pooled": torch.randn(1, 768)}

    @staticmethod
    def arguments(frames, height, width):
        return [256]  # real tokens of the caption

    @staticmethod
    def call(model, tensors, size):
        mask = torch.ones(tensors["text"].shape[:2], dtype=tensors["text"].dtype)
        guidance = torch.full((1,), 6000.0, dtype=tensors["text"].dtype)
        model(tensors["latents"], torch.full((1,), 500.0), tensors["text"], mask, tensors["pooled"], guidance)

    @staticmethod
    def blocks(model):  # in the order of eav_bench
        return [model.single_transformer_blocks[0], model.transformer_blocks[0]]


FAMILIES = {"cogvideox": CogVideoX, "ltx-video": LTXVideo, "hunyuan-video": HunyuanVideo}


def reference(family, folder, inputs, dtype, size, threads):
    torch.set_num_threads(threads)
    family, size = FAMILIES[family], tuple(int(n) for n in size.split("x"))
    way, dtype = dtype, getattr(torch, dtype) if dtype == "float32" else torch.bfloat16
    model = type(family.model()).from_pretrained(folder, torch_dtype=dtype).eval()
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(inputs).items()}
    for block in family.blocks(model):
        if way == "torchao":
            from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

            quantize_(block, Int8DynamicActivationInt8WeightConfig())
        if way in ("compiled", "torchao"):
            block.forward = torch.compile(block.forward)

    def run():
        with torch.inference_mode():
            family.call(model, tensors, size)

    block_loop(run, family.blocks(model))


def commands_of(key, folder, inputs, size, options):
    """Command lines by name: "eav bfloat16", "diffusers float32"."""
    family, threads = FAMILIES[key], options.threads
    commands = {}
    for dtype in options.types:
        commands[f"eav {dtype}"] = [options.bench, threads, "blocks", family.part, folder, inputs, dtype, "on", *family.arguments(*size)]
    for dtype in options.reference_types:
        commands[f"diffusers {dtype}"] = [sys.executable, __file__, "--threads", threads, "--reference", key, folder, inputs, dtype,
                                          "x".join(str(n) for n in size)]  # fmt: skip
    return commands


def tokens_of(family, size):
    frames, positions = family.grid(*size)
    return frames * positions + family.text


def takes_minutes(family, size):
    """Then a warm-up is not worth its time."""
    return tokens_of(family, size) > 20000


def cfi_command(family, size, dtype, options):
    frames, positions = family.grid(*size)
    return [options.bench, options.threads, "cfi", dtype, family.heads, frames * positions + family.text,
            family.first, frames, positions, family.head_size]  # fmt: skip


def side_by_side(options):
    found = []
    for key in options.families:
        family = FAMILIES[key]
        size, rounds = family.small if options.small else family.full, options.rounds or family.rounds
        with tempfile.TemporaryDirectory() as folder:
            torch.manual_seed(0)
            family.model().save_pretrained(folder)
            inputs = f"{folder}/inputs.safetensors"
            save_file(family.inputs(*size), inputs)
            commands = commands_of(key, folder, inputs, size, options)
            for dtype in options.types:
                commands[f"cfi {dtype}"] = cfi_command(family, size, "bfloat16" if dtype == "int8" else dtype, options)
            results = alternate(commands, rounds, warm_up=not takes_minutes(family, size))
        frames, height, width = size
        print(f"\n{family.name}, {frames} frames of {width}x{height}, {tokens_of(family, size)} tokens, {options.threads} threads, "
              f"median of {rounds} rounds (each), in seconds")  # fmt: skip
        for i, kind in enumerate(family.kinds):
            median = {name: statistics.median(run[2 + i] for run in runs) for name, runs in results.items() if not name.startswith("cfi")}
            for name, seconds in median.items():
                each = " ".join(f"{run[2 + i]:.2f}" for run in results[name])
                ratios = ", ".join(f"{seconds / median[f'diffusers {other}']:.3f} of diffusers in {other}"
                                   for other in options.reference_types) if name.startswith("eav") else ""  # fmt: skip
                print(f"  {kind:14} {name:20} {seconds:8.2f} ({each})  {ratios}")
            for dtype in options.types:
                cfi = statistics.median(run[0] for run in results[f"cfi {dtype}"])
                print(f"  {kind:14} CFI, {dtype}: {cfi:.4f}, {100 * cfi / median[f'eav {dtype}']:.2f} % of the block", flush=True)
            found.append({"family": family.name, "kind": kind, "size": size, "tokens": tokens_of(family, size), "seconds": median,
                          "rounds": {name: [run[2 + i] for run in runs] for name, runs in results.items() if name in median},
                          "cfi": {name: [run[0] for run in runs] for name, runs in results.items() if name not in median}})  # fmt: skip
    return found


def fitted(points):
    """(a, b) of seconds = a * tokens + b * tokens ** 2, by least squares of relative errors."""
    tokens, seconds = (numpy.array(column, float) for column in zip(*points, strict=True))
    matrix = numpy.stack([tokens / seconds, tokens**2 / seconds], 1)
    return numpy.linalg.lstsq(matrix, numpy.ones(len(points)), rcond=None)[0]


def growth(options):
    """One CogVideoX-2B block at lengths and sizes; diffusers alone up to 40,000 tokens."""
    family = CogVideoX
    frames, sides = ((1, 9, 17), ((128, 192), (256, 384))) if options.small else ((1, 9, 25, 49, 97), ((256, 384), (480, 720), (720, 1280)))
    sizes = sorted(((f, *side) for f in frames for side in sides), key=lambda size: tokens_of(family, size))
    points = {}
    print(f"one CogVideoX-2B block, {options.threads} threads: seconds at best of 2, above 20,000 tokens of one run")
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        family.model().save_pretrained(folder)
        for size in sizes:
            tokens = tokens_of(family, size)
            inputs = f"{folder}/inputs.safetensors"
            save_file(family.inputs(*size), inputs)
            commands = commands_of("cogvideox", folder, inputs, size, options)
            if tokens > 40000:
                commands = {name: command for name, command in commands.items() if name.startswith("eav")}
            alone = takes_minutes(family, size)
            results = alternate(commands, 1 if alone else 2, warm_up=not alone)
            least = {name: min(seconds for seconds, *_ in runs) for name, runs in results.items()}
            for name, seconds in least.items():
                points.setdefault(name, []).append((tokens, seconds))
            print(f"  {size[0]:3} frames of {size[2]}x{size[1]}, {tokens:6} tokens: "
                  + ", ".join(f"{name} {seconds:.3f}" for name, seconds in least.items()), flush=True)  # fmt: skip
    fits = {name: fitted(of) for name, of in points.items()}
    for name, (a, b) in fits.items():
        off = max(abs((a * n + b * n * n) / seconds - 1) for n, seconds in points[name])
        print(f"  {name}: {1e6 * a:.2f} us * tokens + {1e9 * b:.3f} ns * tokens^2, at most {100 * off:.0f} % off; "
              f"both are equal at {a / b:.0f} tokens")  # fmt: skip
    if options.picture:
        draw(options.picture, points, fits)
    return [{"name": name, "points": of, "fit": list(fits[name])} for name, of in points.items()]


def draw(file, points, fits):
    """Seconds against tokens on logarithmic axes, with the fits, as SVG."""
    width, height, left, bottom = 640, 400, 70, 50
    every = [point for of in points.values() for point in of]
    low = [numpy.log10(min(column)) - 0.1 for column in zip(*every, strict=True)]
    high = [numpy.log10(max(column)) + 0.1 for column in zip(*every, strict=True)]

    def place(tokens, seconds):
        x = left + (numpy.log10(tokens) - low[0]) / (high[0] - low[0]) * (width - left - 20)
        return x, height - bottom - (numpy.log10(seconds) - low[1]) / (high[1] - low[1]) * (height - bottom - 20)

    colours = ["#3b7dd8", "#d8743b", "#4a9d5b", "#8a5bb8", "#777777"]
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
             f'<rect width="{width}" height="{height}" fill="#ffffff"/>']  # fmt: skip
    for axis in (0, 1):
        for power in range(int(numpy.ceil(low[axis])), int(numpy.floor(high[axis])) + 1):
            at = place(10**power, 10 ** low[1]) if axis == 0 else place(10 ** low[0], 10**power)
            end = (at[0], 20) if axis == 0 else (width - 20, at[1])
            label = f"{10**power:,}" if power >= 0 else f"{10**power:g}"
            parts.append(f'<path d="M{at[0]:.1f} {at[1]:.1f}L{end[0]:.1f} {end[1]:.1f}" stroke="#dddddd"/>')
            text = f'x="{at[0]:.1f}" y="{at[1] + 18:.1f}" text-anchor="middle"' if axis == 0 else f'x="{left - 8}" y="{at[1] + 4:.1f}" text-anchor="end"'
            parts.append(f"<text {text}>{label}</text>")
    parts.append(f'<text x="{(left + width) / 2:.0f}" y="{height - 10}" text-anchor="middle">tokens</text>')
    parts.append(f'<text x="16" y="{height / 2:.0f}" text-anchor="middle" transform="rotate(-90 16 {height / 2:.0f})">seconds</text>')
    for i, (name, of) in enumerate(points.items()):
        a, b = fits[name]
        line = [place(n, a * n + b * n * n) for n in numpy.geomspace(of[0][0], of[-1][0], 40)]
        parts.append(f'<path d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in line)}" fill="none" stroke="{colours[i]}"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colours[i]}"/>' for x, y in (place(*point) for point in of)]
        parts.append(f'<text x="{left + 16}" y="{36 + 18 * i}" fill="{colours[i]}">{name}</text>')
    with open(file, "w") as out:
        out.write("\n".join([*parts, "</svg>\n"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default=BENCH)
    parser.add_argument("--families", default=list(FAMILIES), nargs="+", choices=FAMILIES)
    parser.add_argument("--types", default=["bfloat16"], nargs="+", choices=["float32", "bfloat16", "int8"], help="of eav")
    parser.add_argument("--reference-types", default=["bfloat16", "float32"], nargs="*", choices=["float32", "bfloat16", "compiled", "torchao"],
                        help="of diffusers; compiled: bfloat16 with torch.compile; torchao: that, in its int8 (pip install torchao)")  # fmt: skip
    parser.add_argument("--rounds", type=int, help="in place of 3 and 2")
    parser.add_argument("--threads", default=2, type=int)
    parser.add_argument("--quick", action="store_true", help="leave HunyuanVideo out")
    parser.add_argument("--small", action="store_true", help="little sizes, to try the program")
    parser.add_argument("--growth", action="store_true", help="how time grows with frames and pixels, instead")
    parser.add_argument("--picture", help="with --growth: write an .svg")
    parser.add_argument("--json", help="write all times to this file")
    parser.add_argument("--reference", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reference:
        return reference(*options.reference, options.threads)
    if options.quick:
        options.families = [key for key in options.families if key != "hunyuan-video"]
    found = growth(options) if options.growth else side_by_side(options)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(found, file, indent=2)


if __name__ == "__main__":
    main()
