"""Whether two programs make the same bits: latents, frames and traces over a table of small cases of every family.

    same_bits.py run --program build/eav --checkpoints DIR --out new.json [--keep DIR] [--only WORD] [--records DIR]
    same_bits.py compare old.json new.json [--only WORD]

`run` makes the tiny checkpoints in DIR, or takes them from there, and writes a hash of all that each case makes.
`compare` says what differs, and by how much where both runs kept it. --records leaves what the program writes beside
and inside its videos, which later programs must read (tests/e2e/test_old_records.py).
"""

import argparse
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent))

PROMPT = "a red circle"

# What a case is run with unless it says otherwise, by the beginning of the checkpoint's name; {} is the checkpoint.
SETTINGS = {
    "": "--model {} --seed 1234 --threads 1",
    "demo": "--width 32 --height 32 --frames 9 --steps 3",
    "cogvideox": "--width 96 --height 64 --frames 9 --steps 3 --negative-prompt 'blue square'",
    "hunyuan": "--width 96 --height 64 --frames 9 --steps 3",
    "hunyuan-video-three-frames": "--frames 21",
    "hunyuan-image": "--image inputs/wide.png",
    "hunyuan-image-concat-two-frames": "--frames 13",
    "ltx": "--width 96 --height 64 --frames 17 --steps 3 --negative-prompt 'blue square'",
    "ltx-image": "--image inputs/wide.png",
    "ltx-large": "--width 640 --height 576 --frames 9 --steps 2",
    "ltx-two-passes": "--latent-upscaler {}/latent_upsampler --width 112 --height 80 --second-pass-timesteps 900,500",
    "ltx-single": "--model {}/file.safetensors --text-encoder {}/converted --width 64 --height 64 --frames 9 --steps 2",
    "open-sora": "--width 68 --height 50 --frames 17 --steps 2",
    "wan": "--width 96 --height 64 --frames 9 --steps 3 --negative-prompt 'blue square'",
    "wan-a14b": "--steps 4",
    "wan-i2v": "--image inputs/wide.png",
    "wan-flf2v": "--image inputs/wide.png --last-image inputs/other.png",
    "wan-a14b-i2v": "--image inputs/wide.png",
}
INSTEAD_OF = {"--resolution": ("--width", "--height"), "--length": ("--frames",), "--timesteps": ("--steps",)}

BRIEF = {"off": "--no-enhance", "on": ""}
SHORT = BRIEF | {
    "auto": "--enhance-weight auto --steps 6",
    "offload": "--offload",
    "bfloat16": "--dtype bfloat16",
}
USUAL = SHORT | {
    "threads": "--threads 2",
    "layers": "--steps 8 --enhance-weight 8 --enhance-start 0.25 --enhance-end 0.7 --enhance-layers 1",
    "maps": "--trace-maps --fps 12",
    "latents only": "--latents-only",
    "unguided": "--guidance 1",
    "long prompt": f"'a blue square {'and a violet square ' * 80}'",
}

# The cases of each checkpoint: a name, and options of `eav generate`. Files lie in checkpoints/ and inputs/, which
# tiny_checkpoints.py makes. A word before the options is the prompt.
CASES = {
    "demo": USUAL | {
        "as it comes": "--width 64 --height 64 --frames 25 --steps 25",
        "initial latents": "--init-latents inputs/demo.safetensors",
        "all options": "--scheduler dpm --dynamic-guidance --guidance 5 --fps 7.5 --negative-prompt blur --steps 4 "
                       "--enhance-weight 9 --enhance-layers 0-2,4 --enhance-end 0.75 --dtype float32 --device cpu",
    },
    "cogvideox": USUAL | {
        "one step": "--steps 1",
        "tiles": "--vae-tiling on",
        "tiles as needed": "--vae-tiling auto",
        "float16": "--dtype float16",
        "several prompts": "--prompt-file inputs/prompts.txt",
        "initial latents": "--init-latents inputs/cogvideox.safetensors",
        "dynamic guidance": "--dynamic-guidance",
        "other scheduler": "--scheduler dpm",
        "one frame": "--width 48 --height 32 --frames 1",
        "other size": "--width 64 --height 112 --frames 17",
        "all options": "--scheduler dpm --guidance 3.5 --dynamic-guidance --fps 12 --steps 4 --vae-tiling on --trace-maps "
                       "--enhance-weight 7.25 --enhance-start 0.25 --enhance-end 0.75 --enhance-layers 0-1 --offload "
                       "--init-latents inputs/cogvideox.safetensors --dtype bfloat16 --device cpu",
    },
    "cogvideox-dpm": SHORT | {
        "initial latents": "--init-latents inputs/cogvideox.safetensors",
        "dynamic guidance": "--dynamic-guidance --guidance 3.5 --steps 6",
        "other scheduler": "--scheduler ddim",
    },
    "cogvideox-5b": BRIEF | {
        "auto": "--enhance-weight auto",
        "dynamic guidance": "--dynamic-guidance",
        "other size": "--width 128 --height 64 --frames 17",
    },
    "cogvideox-1.5": SHORT | {
        "initial latents": "--init-latents inputs/cogvideox-1.5.safetensors",
        "tiles": "--vae-tiling on",
        "other size": "--width 64 --height 80 --frames 17",
        "one frame": "--frames 1",
        "all options": "--guidance 2.5 --scheduler ddim --dynamic-guidance --fps 16 --enhance-weight auto --enhance-layers 0",
    },
    "cogvideox-learned": BRIEF,
    "cogvideox-sharded": BRIEF | {"offload": "--offload"},
    "cogvideox-bfloat16": BRIEF | {"offload": "--offload", "bfloat16": "--dtype bfloat16"},
    "cogvideox-three-levels": BRIEF,
    "hunyuan-video": USUAL | {
        "one step": "--steps 1",
        "tiles": "--vae-tiling on --width 320 --height 288 --frames 5 --steps 2",
        "no tiles": "--vae-tiling off",
        "several prompts": "--prompt-file inputs/prompts.txt",
        "initial latents": "--init-latents inputs/hunyuan.safetensors",
        "true guidance": "--true-guidance 3 --negative-prompt 'blue square' --guidance 1.5",
        "true guidance, auto": "--true-guidance 3 --negative-prompt '' --enhance-weight auto",
        "flow shift": "--flow-shift 2.5",
        "double blocks": "--enhance-blocks double",
        "single blocks": "--enhance-blocks single",
        "one frame": "--width 48 --height 32 --frames 1",
        "tiles of time": "--width 80 --height 48 --frames 41",
        "special signs": "'a <|end_header_id|> b, in Ünïcode'",
        "all options": "--guidance 4 --true-guidance 2.5 --negative-prompt 'blue square' --flow-shift 3 --fps 12 --steps 4 "
                       "--scheduler euler --vae-tiling off --enhance-blocks single --enhance-layers 1,3-4 --enhance-weight 8 "
                       "--enhance-start 0.25 --init-latents inputs/hunyuan.safetensors --dtype float32 --offload",
    },
    "hunyuan-video-sharded": BRIEF | {"offload": "--offload"},
    "hunyuan-video-bfloat16": BRIEF | {"offload": "--offload", "bfloat16": "--dtype bfloat16"},
    "hunyuan-video-three-frames": BRIEF,
    "hunyuan-video-no-guidance": BRIEF,
    "hunyuan-video-heads": BRIEF,
    "hunyuan-video-ratio": BRIEF,
    "hunyuan-video-encoders": BRIEF,
    "hunyuan-video-released": BRIEF,
    "hunyuan-image-concat": USUAL | {
        "crop": "--image-fit crop",
        "alpha": "--image inputs/high-with-alpha.png",
        "true guidance": "--true-guidance 3 --negative-prompt 'blue square'",
        "initial latents": "--init-latents inputs/hunyuan.safetensors",
        "five frames": "--frames 5",
        "tiles": "--vae-tiling on --width 320 --height 288 --frames 5 --steps 1",
        "all options": "--guidance 4 --true-guidance 2.5 --negative-prompt blur --flow-shift 3 --image-fit crop --fps 12 "
                       "--enhance-blocks double --enhance-weight 6 --vae-tiling off --dtype bfloat16",
    },
    "hunyuan-image-replace": SHORT | {
        "crop": "--image-fit crop",
        "fits": "--image inputs/fits.png",
        "true guidance": "--true-guidance 2.5 --negative-prompt '' --guidance 4",
        "initial latents": "--init-latents inputs/hunyuan.safetensors",
        "one frame": "--width 48 --height 32 --frames 1",
        "other size": "--width 80 --height 48 --frames 25",
        "tiles": "--vae-tiling on --width 320 --height 288 --frames 5 --steps 1",
        "all options": "--guidance 4 --true-guidance 2.5 --negative-prompt blur --flow-shift 3 --image-fit crop --fps 12 "
                       "--init-latents inputs/hunyuan.safetensors --enhance-weight auto",
    },
    "hunyuan-image-concat-two-frames": BRIEF,
    "hunyuan-image-replace-bfloat16": BRIEF | {"offload": "--offload"},
    "hunyuan-image-replace-encoders": BRIEF,
    "ltx-video-0.9.0": USUAL | {
        "several prompts": "--prompt-file inputs/prompts.txt",
        "initial latents": "--init-latents inputs/ltx-video-0.9.0.safetensors",
        "guidance rescale": "--guidance 5 --guidance-rescale 0.7",
        "one frame": "--width 32 --height 96 --frames 1",
        "other size": "--width 128 --height 32 --frames 33 --fps 12",
        "frame-wise": "--frames 41 --vae-framewise",
        "all options": "--guidance 4.5 --guidance-rescale 0.5 --fps 12 --steps 4 --scheduler euler --vae-tiling on "
                       "--vae-framewise --enhance-weight 6 --enhance-start 0.25 --enhance-layers 1 --dtype float32 "
                       "--init-latents inputs/ltx-video-0.9.0.safetensors",
    },
    "ltx-video-0.9.1": SHORT | {
        "initial latents": "--init-latents inputs/ltx-video-0.9.1.safetensors",
        "decoding": "--decode-timestep 0.3 --decode-noise-scale 0.4",
        "frame-wise": "--frames 41 --vae-framewise",
        "all options": "--guidance 4.5 --guidance-rescale 0.5 --decode-timestep 0.1 --decode-noise-scale 0.2 --fps 12 "
                       "--vae-framewise --enhance-weight auto --image inputs/wide.png --image-fit crop",
    },
    "ltx-video-0.9.5": BRIEF | {"auto": "--enhance-weight auto", "frame-wise": "--frames 41 --vae-framewise"},
    "ltx-video-shift": BRIEF | {"flow shift": "--flow-shift 2"},
    "ltx-video-linear": BRIEF,
    "ltx-video-affine": BRIEF,
    "ltx-video-no-bias": BRIEF,
    "ltx-video-heads": BRIEF,
    "ltx-image": SHORT | {
        "crop": "--image-fit crop",
        "initial latents": "--init-latents inputs/ltx-video-0.9.0.safetensors",
        "one frame": "--frames 1",
        "other image": "--image inputs/high-with-alpha.png",
    },
    "ltx-image-0.9.1": BRIEF,
    "ltx-condition": USUAL | {
        "one step": "--steps 1",
        "image": "--image inputs/wide.png",
        "image, crop": "--image inputs/wide.png --image-fit crop",
        "image, off": "--image inputs/wide.png --no-enhance",
        "image, unguided": "--image inputs/fits.png --guidance 1",
        "weak image": "--image inputs/fits.png --strength 0.6",
        "image at a frame": "--image inputs/fits.png --frame-index 8",
        "images": "--image inputs/fits.png --frame-index 16 --strength 0.9 --image inputs/wide.png --strength 0.7 "
                  "--image inputs/other.png --frame-index 8",
        "images, auto": "--image inputs/fits.png --image inputs/other.png --frame-index 8 --enhance-weight auto --steps 6",
        "images, offload": "--image inputs/fits.png --image inputs/other.png --frame-index 8 --offload",
        "clip": "--video inputs/clip-9.mkv",
        "clip at a frame": "--video inputs/clip-25.mkv --frame-index 8 --frames 33",
        "clip and image": "--video inputs/clip-9.mkv --strength 0.8 --image inputs/fits.png --frame-index 16",
        "noise on conditions": "--image inputs/fits.png --image-cond-noise-scale 0.5",
        "timesteps": "--image inputs/fits.png --timesteps 1000,993,987,725.5,0.03",
        "denoise strength": "--init-latents inputs/ltx-condition.safetensors --denoise-strength 0.6 --steps 6",
        "denoise strength, image": "--init-latents inputs/ltx-condition.safetensors --denoise-strength 0.4 --steps 6 "
                                   "--image inputs/fits.png --image inputs/other.png --frame-index 8",
        "guidance rescale": "--guidance-rescale 0.6",
        "decoding": "--decode-timestep 0.3 --decode-noise-scale 0.4",
        "several prompts": "--prompt-file inputs/prompts.txt --image inputs/fits.png",
        "one frame": "--frames 1 --image inputs/fits.png",
        "frame-wise": "--frames 41 --vae-framewise --video inputs/clip-25.mkv",
        "all options": "--video inputs/clip-9.mkv --strength 0.8 --image inputs/wide.png --frame-index 16 --image-fit crop "
                       "--image-cond-noise-scale 0.3 --guidance 4.5 --guidance-rescale 0.5 --decode-timestep 0.1 "
                       "--decode-noise-scale 0.2 --flow-shift 2 --fps 12 --vae-framewise --vae-tiling on --steps 6 "
                       "--init-latents inputs/ltx-condition.safetensors --denoise-strength 0.7 --enhance-weight 6 "
                       "--enhance-start 0.25 --enhance-end 0.75 --scheduler euler",
    },
    "ltx-condition-shift": BRIEF | {"image": "--image inputs/fits.png", "timesteps": "--timesteps 1000,900,500"},
    "ltx-condition-terminal": BRIEF | {"image": "--image inputs/fits.png"},
    "ltx-two-passes": SHORT | {"image": "--image inputs/wide.png", "tones": "--tone-map-compression-ratio 0.6"},
    "ltx-large-0.9.0": {"tiles": "--vae-tiling on", "no tiles": "--vae-tiling off"},
    "ltx-large-0.9.1": {"tiles": "--vae-tiling on"},
    "ltx-large-0.9.5": {
        "tiles": "--vae-tiling on",
        "tiles, image": "--vae-tiling on --image inputs/wide.png",
        "tiles, frame-wise": "--vae-tiling on --vae-framewise --frames 25 --width 576 --height 64",
    },
    "ltx-single-0.9.0": BRIEF | {"offload": "--offload", "image": "--image inputs/fits.png"},
    "ltx-single-0.9.1": BRIEF,
    "ltx-single-0.9.5": BRIEF | {"image": "--image inputs/fits.png"},
    "ltx-single-0.9.7": BRIEF | {"bfloat16": "--dtype bfloat16"},
    "open-sora": USUAL | {
        "one step": "--steps 1",
        "several prompts": "--prompt-file inputs/prompts.txt",
        "initial latents": "--init-latents inputs/open-sora.safetensors",
        "one frame": "--frames 1",
        "other length": "--frames 20",
        "image": "--image inputs/wide.png",
        "image, stretched": "--image inputs/wide.png --image-fit stretch",
        "images at both ends": "--image inputs/wide.png --last-image inputs/high-with-alpha.png",
        "weak images": "--image inputs/wide.png --strength 0.4 --last-image inputs/other.png --strength 0.7 --steps 4",
        "images, off": "--image inputs/wide.png --last-image inputs/other.png --no-enhance",
        "clip": "--video inputs/clip-9.mkv",
        "long clip": "--video inputs/clip-25.mkv --frames 34",
        "loop": "--frames 34 --loop 2 --width 32 --height 24",
        "loop from image to image": "--frames 34 --loop 2 --width 32 --height 24 --image inputs/wide.png "
                                    "--last-image inputs/other.png",
        "loop, auto": "--frames 34 --loop 2 --width 32 --height 24 --enhance-weight auto",
        "named": "--resolution 144p --aspect 1:1 --frames 1 --steps 1",
        "named length": "--length 2s --width 32 --height 24 --steps 1",
        "parts": "--model checkpoints/open-sora/OpenSora-STDiT-v3 --vae checkpoints/open-sora/OpenSora-VAE-v1.2 "
                 "--text-encoder checkpoints/open-sora/t5-v1_1-xxl",
        "all options": "--model checkpoints/open-sora/OpenSora-STDiT-v3 --vae checkpoints/open-sora/OpenSora-VAE-v1.2 "
                       "--text-encoder checkpoints/open-sora/t5-v1_1-xxl --width 32 --height 24 --frames 34 --loop 2 "
                       "--image inputs/wide.png --strength 0.6 --last-image inputs/other.png --image-fit stretch "
                       "--aesthetic-score 5 --motion-score 3 --camera-motion 'pan left' --no-clean-prompt "
                       "--guidance 5 --fps 12 --enhance-weight 6 --enhance-layers 0 --scheduler euler",
    },
    "open-sora-words": {
        "on": "",
        "scores": "--aesthetic-score 5 --motion-score 3 --camera-motion 'pan left'",
        "scores in the prompt": "'a red circle, motion score: 2.' --motion-score 3",
        "cleaned": "'A Circle (No. 1234567) — at 100%, see https://example.org/a.png ...'",
        "as it is": "'A Circle (No. 1234567) — at 100%' --no-clean-prompt",
    },
    "wan-t2v": USUAL | {
        "one step": "--steps 1",
        "several prompts": "--prompt-file inputs/prompts.txt",
        "initial latents": "--init-latents inputs/wan.safetensors",
        "other scheduler": "--scheduler euler --flow-shift 5",
        "one frame": "--width 48 --height 32 --frames 1",
        "other size": "--width 64 --height 112 --frames 17",
        "video": "--video inputs/clip-9.mkv --steps 4",
        "all options": "--video inputs/clip-25.mkv --denoise-strength 0.6 --image-fit crop --guidance 3.5 --flow-shift 2 "
                       "--fps 12 --steps 5 --vae-tiling on --scheduler euler --init-latents inputs/wan.safetensors "
                       "--enhance-weight 6 --enhance-start 0.25 --enhance-layers 1 --dtype bfloat16 --offload",
    },
    "wan-t2v-euler": BRIEF | {"other scheduler": "--scheduler unipc"},
    "wan-t2v-order-3": BRIEF | {"steps": "--steps 6"},
    "wan-i2v": SHORT | {"crop": "--image-fit crop", "one frame": "--frames 1", "several prompts": "--prompt-file inputs/prompts.txt"},
    "wan-flf2v": BRIEF | {"all options": "--guidance 4 --flow-shift 3 --enhance-weight auto --dtype bfloat16"},
    "wan-ti2v": SHORT | {"image": "--image inputs/wide.png", "one frame": "--frames 1 --image inputs/fits.png"},
    "wan-a14b-t2v": SHORT | {"all options": "--guidance 3 --guidance-2 2 --enhance-layers 0", "several prompts": "--prompt-file inputs/prompts.txt"},
    "wan-a14b-i2v": BRIEF | {"images": "--image inputs/wide.png --last-image inputs/other.png", "offload": "--offload"},
}  # fmt: skip

# The cases that leave records, as .mp4 with a .json beside it; some as .webm too, which holds its own.
RECORDED = {
    "demo": ["on", "all options"],
    "cogvideox": ["on", "off", "auto", "all options", "latents only", "dynamic guidance"],
    "cogvideox-1.5": ["on", "all options"],
    "hunyuan-video": ["on", "all options"],
    "hunyuan-image-concat": ["on", "all options"],
    "hunyuan-image-replace": ["on", "all options"],
    "ltx-video-0.9.0": ["on", "all options"],
    "ltx-video-0.9.1": ["on", "all options"],
    "ltx-image": ["on"],
    "ltx-condition": ["on", "images", "timesteps", "all options"],
    "ltx-single-0.9.0": ["on"],
    "open-sora": ["on", "loop", "named", "named length", "all options"],
    "wan-t2v": ["on", "all options"],
    "wan-i2v": ["on"],
    "wan-flf2v": ["all options"],
    "wan-a14b-t2v": ["on", "all options"],
}
ALSO_WEBM = {"cogvideox/on", "hunyuan-video/all-options", "ltx-condition/all-options", "open-sora/all-options"}


def options_in(words):
    """[--a, 1, --flag] -> {--a: [--a, 1], --flag: [--flag]}; of an option that is there twice, the last."""
    found = {}
    for word in words:
        if word.startswith("--"):
            option = found[word] = []
        option.append(word)
    return found


def arguments_of(checkpoint, case):
    """What `eav generate` is called with for a case, but for what it writes."""
    return arguments_for(checkpoint, CASES[checkpoint][case])


def arguments_for(checkpoint, case):
    """The same for options as the table has them."""
    settings = {}
    for beginning, text in SETTINGS.items():
        if checkpoint.startswith(beginning):
            settings |= options_in(shlex.split(text.replace("{}", f"checkpoints/{checkpoint}")))
    words = shlex.split(case)
    for option in options_in(w for w in words if w.startswith("--")):
        for replaced in (option, *INSTEAD_OF.get(option, ())):
            settings.pop(replaced, None)
    has_prompt = "--prompt-file" in words or words[:1] and not words[0].startswith("--")
    return [*([] if has_prompt else [PROMPT]), *words, *(word for option in settings.values() for word in option)]


def name_of(checkpoint, case):
    """As folders are named: "ltx-condition", "images, off" -> "ltx-condition/images-off"."""
    return f"{checkpoint}/{case.replace(',', '').replace(' ', '-')}"


class Program:
    """Runs a program in a folder where checkpoints/ and inputs/ lie."""

    def __init__(self, path, checkpoints, folder):
        self.path, self.folder = Path(path).resolve(strict=True), Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, target in (("checkpoints", checkpoints), ("inputs", Path(checkpoints) / "inputs")):
            (self.folder / name).symlink_to(Path(target).resolve())

    def run(self, *arguments):
        patient = {**os.environ, "OMP_WAIT_POLICY": "passive"}  # threads that spin hold up those of other cases
        return subprocess.run([self.path, *arguments], cwd=self.folder, capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL, env=patient)  # fmt: skip

    def __call__(self, *arguments):
        done = self.run(*arguments)
        if done.returncode != 0:
            raise RuntimeError(f"{shlex.join(map(str, arguments))}: {done.stderr.strip().splitlines()[-1:]}")
        return done.stdout

    def generate(self, arguments, name, latents_only=False):
        """Makes frames, latents and trace in the folder `name`, and returns it."""
        (self.folder / name).mkdir(parents=True)
        out = [] if latents_only else ["--out", f"{name}/frames/"]
        typed = [] if {"--dtype", "--from"} & set(arguments) else ["--dtype", "float32"]  # whatever the program would choose
        self("generate", *arguments, *typed, *out, "--save-latents", f"{name}/latents.safetensors", "--trace", f"{name}/trace.json")
        return self.folder / name


# ---- what a run made


def pixels_in(folder):
    return np.stack([np.asarray(Image.open(file)) for file in sorted(folder.glob("*.png"))])


def latents_in(file):
    (tensor,) = safetensors.torch.load_file(file).values()
    return tensor


def made_in(folder):
    """The latents, frames and traces in a folder, by the names of their files without suffix.

    Not the .mp4: it holds the record, whose words may change while the request stays the same. Nor the .json beside it,
    which tells seconds.
    """
    made = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("latents") and path.suffix == ".safetensors":
            made[path.stem] = latents_in(path)
        elif path.name.startswith("frames") and path.is_dir():
            made[path.name] = pixels_in(path)
        elif path.name.startswith("trace"):
            made[path.stem] = path.read_text()
    return made


def hash_of(thing):
    if isinstance(thing, str):
        return hashlib.sha256(thing.encode()).hexdigest()
    raw = thing.contiguous().view(torch.uint8).numpy() if isinstance(thing, torch.Tensor) else thing
    return hashlib.sha256(f"{thing.dtype} {tuple(thing.shape)}".encode() + raw.tobytes()).hexdigest()


def numbers_of(thing):
    """What is compared of a tensor, of pixels or of a trace's entries, as float64."""
    if isinstance(thing, str):
        return np.array([entry[2:] for entry in json.loads(thing)["entries"]], dtype=np.float64)
    return thing.double().numpy() if isinstance(thing, torch.Tensor) else thing.astype(np.float64)


def hash_of_folder(folder):
    digest = hashlib.sha256()
    for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)} ".encode() + path.read_bytes())
    return digest.hexdigest()


# ---- the commands


def run(options):
    from tiny_checkpoints import make_checkpoint, make_inputs

    if options.records and Path(options.records).exists():
        sys.exit(f"{options.records} exists: records are kept, not made anew")
    begin = time.monotonic()
    chosen = [(c, case) for c, cases in CASES.items() for case in cases if options.only in name_of(c, case)]
    for checkpoint in dict.fromkeys(c for c, _ in chosen):
        make_checkpoint(checkpoint, options.checkpoints)
    make_inputs(options.checkpoints)

    failed, seconds = [], Counter()
    with tempfile.TemporaryDirectory() as folder:
        program = Program(options.program, options.checkpoints, folder)

        def do(chosen_case):
            checkpoint, case = chosen_case
            name, start = name_of(checkpoint, case), time.monotonic()
            try:
                arguments = arguments_of(checkpoint, case)
                made = program.generate(arguments, name, "--latents-only" in arguments)
                hashes = {what: hash_of(thing) for what, thing in made_in(made).items()}
            except RuntimeError as error:
                failed.append(f"{name}: {error}")
                return name, {"failed": str(error)}
            seconds[name] = time.monotonic() - start
            if options.keep:
                shutil.rmtree(Path(options.keep) / name, ignore_errors=True)
                shutil.copytree(made, Path(options.keep) / name)
            shutil.rmtree(made)
            return name, hashes

        with ThreadPoolExecutor(options.jobs) as pool:
            cases = dict(pool.map(do, chosen))
    told = {
        "checkpoints": {c: hash_of_folder(Path(options.checkpoints) / c) for c in [*dict(chosen), "inputs"]},
        "kept": str(Path(options.keep).resolve()) if options.keep else None,
        "cases": cases,
    }
    Path(options.out).write_text(json.dumps(told, indent=1) + "\n")
    if options.records:
        record(options)
    print(*failed, sep="\n", end="\n" if failed else "")
    slowest = ", ".join(f"{name} {took:.1f} s" for name, took in seconds.most_common(3))
    print(f"{len(cases)} cases in {time.monotonic() - begin:.0f} s, {len(failed)} failed; the slowest: {slowest}")
    return bool(failed)


def difference(a, b):
    if a.shape != b.shape:
        return f"in shape: {a.shape} and {b.shape}"
    if not a.size or (a == b).all():
        return "in how they are written, not in their numbers"
    return f"by up to {np.abs(a - b).max() / np.abs(a).max():.1e} of the largest value"


def compare(options):
    """Says what differs, case by case; 1 where anything does."""
    one, other = (json.loads(Path(file).read_text()) for file in options.files)
    different = 0
    for name in sorted(one["checkpoints"].keys() & other["checkpoints"].keys()):
        if one["checkpoints"][name] != other["checkpoints"][name]:
            print(f"{name}: the two were run on other files of this name, so that they cannot be compared")
            different += 1
    names = [name for name in dict.fromkeys([*one["cases"], *other["cases"]]) if options.only in name]
    for name in names:
        a, b = one["cases"].get(name), other["cases"].get(name)
        if a == b and a is not None and "failed" not in a:
            continue
        different += 1
        if a is None or b is None:
            print(f"{name}: only in {options.files[a is None]}")
            continue
        for file, found in zip(options.files, (a, b), strict=True):
            if "failed" in found:
                print(f"{name}: failed in {file}: {found['failed']}")
        if "failed" in a or "failed" in b:
            continue
        made = [made_in(Path(told["kept"]) / name) if told["kept"] else {} for told in (one, other)]
        for what in dict.fromkeys([*a, *b]):
            if a.get(what) == b.get(what):
                continue
            both = all(what in files for files in made)
            print(f"{name}: {what} differ", difference(*(numbers_of(files[what]) for files in made)) if both else "")
    print(f"{different} differ, of {len(names)} cases")
    return different > 0


def record(options):
    """Leaves records as test data. They hold whole paths, so that they are made in a folder that says nothing."""
    folder, out = Path("/tmp/eav-records"), Path(options.records).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    program = Program(options.program, options.checkpoints, folder)
    arguments = {name_of(c, case): arguments_of(c, case) for c, cases in RECORDED.items() for case in cases}
    for name, words in arguments.items():
        (folder / name).parent.mkdir(exist_ok=True)
        if "--latents-only" in words:
            program("generate", *words, "--save-latents", f"{name}.safetensors")
            continue
        trace = ["--trace", "trace.json"] if "--trace-maps" in words else []
        for suffix in (".mp4", ".webm") if name in ALSO_WEBM else (".mp4",):
            program("generate", *words, *trace, "--overwrite", "--out", name + suffix)
    (folder / "prompts.txt").write_text("a red circle\na blue square\n")
    arguments["compare"] = [word for word in arguments["demo/on"][1:] if word not in ("--seed", "1234")]
    program("compare", "--prompts", "prompts.txt", "--out", "compare", "--jobs", "1", *arguments["compare"])
    for path in [*folder.glob("compare/*/001*"), folder / "compare/results.json", folder / "compare/report.html"]:
        path.unlink()  # as if it had been stopped after the first pair
    offered = {word.strip(",;") for word in program("generate", "--help").split() if word.startswith("--")}
    print("no record sets", *sorted(offered.difference(*arguments.values())))

    for checkpoint in (*RECORDED, "compare"):
        shutil.copytree(folder / checkpoint, out / checkpoint, ignore=shutil.ignore_patterns("*.safetensors"))
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(words)}" for name, words in arguments.items())
    (out / "arguments.json").write_text(f"{{\n{lines}\n}}\n")
    shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("run", help="run a program over the table of cases")
    command.set_defaults(do=run)
    command.add_argument("--program", required=True)
    command.add_argument("--checkpoints", required=True, help="the folder that has the tiny checkpoints, or gets them")
    command.add_argument("--out", required=True, help="a .json for the hashes")
    command.add_argument("--keep", help="a folder for latents, frames and traces, so that differences can be measured")
    command.add_argument("--only", default="", help="cases whose name contains this")
    command.add_argument("--jobs", type=int, default=os.cpu_count(), help="cases at once")
    command.add_argument("--records", help="a new folder for records that later programs must read")
    command = commands.add_parser("compare", help="compare what two runs made")
    command.set_defaults(do=compare)
    command.add_argument("files", nargs=2)
    command.add_argument("--only", default="", help="cases whose name contains this")
    options = parser.parse_args()
    sys.exit(options.do(options))


if __name__ == "__main__":
    main()
