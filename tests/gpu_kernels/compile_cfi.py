"""Compiles the kernel for GPUs, none of which need be there, and prints a line for each of what the compiler made."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

sys.path.append(str(Path(__file__).resolve().parents[2] / "integrations" / "comfyui"))
import cfi_triton

GPUS = {"Ampere": 80, "Ada": 89, "Hopper": 90, "Blackwell": 100, "Blackwell, GeForce": 120}
LAYERS = [("float32", 13, 64), ("bfloat16", 13, 64), ("bfloat16", 33, 128)]  # CogVideoX, twice; HunyuanVideo
NAMES = {"float32": "*fp32", "bfloat16": "*bf16"}

kernel = cfi_triton.kernel()
for gpu, capability in GPUS.items():
    for dtype, frames, size in LAYERS:
        tiles = cfi_triton.tiles(frames, size, dtype == "float32")
        options = {name: value for name, value in tiles.items() if name not in kernel.arg_names}
        constants = {name: value for name, value in tiles.items() if name in kernel.arg_names}
        constants |= {"query_channel": 1, "key_channel": 1}
        signature = {name: "constexpr" if name in constants else "i32" for name in kernel.arg_names}
        signature |= {"query": NAMES[dtype], "key": NAMES[dtype], "mass": "*fp32", "scale": "fp32"}
        # What a launch finds out of its arguments: strides, sizes and addresses are multiples of 16.
        even = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(kernel.arg_names)
                if signature[name] not in ("constexpr", "fp32") and name not in ("frames", "positions", "heads")}  # fmt: skip
        source = ASTSource(kernel, signature, constants, even)
        made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            Path(file.name).write_bytes(made.asm["cubin"])
            told = subprocess.run([triton.knobs.nvidia.cuobjdump.path, "-res-usage", file.name], check=True,
                                  capture_output=True, text=True).stdout  # fmt: skip
        count = lambda pattern: len(re.findall(pattern, made.asm["ptx"]))
        (registers, spilled), = re.findall(r"REG:(\d+) STACK:(\d+)", told)
        print(f"{gpu}, {dtype}, T {frames}, d {size}: registers={registers} spilled={spilled} shared={made.metadata.shared} "
              f"wide_loads={count(r'ld[.]global[^;]*v4')} narrow_loads={count(r'ld[.]global(?![^;]*v4)')} "
              f"products={count(r'mma[.]')}")  # fmt: skip
