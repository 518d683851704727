"""A table of bad inputs, generated: options, configurations, tensors and files that are cut.

Each gets one line on stderr that names the option or the file, exits with 1 or 2 in less than 2 seconds, and leaves no
file. A field that may be left out, or that nothing is read from, changes nothing. Of most tables every
so many-th case is run; all of them with EAV_WHOLE_TABLE=1.
"""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy
import pytest
from conftest import PROGRAM, ROOT
from safetensors.numpy import load_file, save_file

STRIDE = 1 if os.environ.get("EAV_WHOLE_TABLE") else 23
SECONDS = 2
SIZE = ("--width", "64", "--height", "64", "--frames", "17", "--steps", "2", "--threads", "1")


@dataclass
class Case:
    name: str
    arguments: list  # of the program; the checkpoint stands for None
    named: list  # one of these stands in the line
    checkpoint: Path = None
    files: dict = field(default_factory=dict)  # contents in the place of those of the checkpoint
    fails: bool | None = True  # None: either way


@pytest.fixture(scope="module")
def checkpoints(tiny, tmp_path_factory):
    """A tiny checkpoint of each family."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.path.insert(0, str(ROOT / "tests"))
    from diffusers import LTXConditionPipeline
    from tiny_hunyuan_video import save_tiny_hunyuan_video
    from tiny_ltx_video import save_tiny_ltx_video
    from tiny_open_sora import save_tiny_open_sora
    from tiny_wan import save_tiny_wan

    folder = tmp_path_factory.mktemp("checkpoints")
    save_tiny_hunyuan_video(folder / "hunyuan-video")
    flow = {"use_dynamic_shifting": False, "shift_terminal": None}
    save_tiny_ltx_video(folder / "ltx-video", "0.9.5", pipeline=LTXConditionPipeline, scheduler=flow)
    save_tiny_open_sora(folder / "open-sora")
    save_tiny_wan(folder / "wan", "flf2v")
    (folder / "cogvideox").symlink_to(tiny)
    return {made.name: made for made in sorted(folder.iterdir())}


def run(case, folder):
    """What is wrong with how the program takes the case; nothing where all is well."""
    out, checkpoint = folder / "out", folder / "checkpoint"
    out.mkdir(parents=True)
    if case.checkpoint:
        for file in case.checkpoint.rglob("*"):
            name = file.relative_to(case.checkpoint)
            if file.is_file():
                (checkpoint / name).parent.mkdir(parents=True, exist_ok=True)
                if str(name) not in case.files:
                    (checkpoint / name).symlink_to(file.resolve())
    for name, content in case.files.items():
        (checkpoint / name).write_bytes(content)
    arguments = [str(checkpoint) if argument is None else argument for argument in case.arguments]
    with open(folder / "stderr", "wb+") as stderr:
        process = subprocess.Popen([PROGRAM, *arguments], cwd=out, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        stderr.seek(0)
        text = stderr.read().decode(errors="replace")
    left = sorted(path.name for path in out.iterdir())
    shutil.rmtree(folder)
    lines, code = text.splitlines(), process.returncode
    if left:
        return f"leaves {left}"
    if usage.ru_utime + usage.ru_stime > SECONDS:  # of the processor: other programs may run beside this one
        return f"takes {usage.ru_utime + usage.ru_stime:.1f} s"
    if code == 0 and not text:
        return "is taken" if case.fails else None
    if code not in (1, 2) or len(lines) != 1 or not lines[0].startswith("eav: "):
        return f"ends with {code}: {text[:300]}"
    if case.fails is False:
        return f"is refused: {text}"
    named = [name if name else str(checkpoint) for name in case.named]
    return None if any(name in lines[0] for name in named) else f"does not name {named}: {text}"


def check(cases, tmp_path, least):
    assert len(cases) >= least
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda item: run(item[1], tmp_path / str(item[0])), enumerate(cases)))
    wrong = [f"{case.name}: {what}" for case, what in zip(cases, found) if what]
    assert not wrong, "\n".join([f"{len(wrong)} of {len(cases)}", *wrong])


# ---- options


def values_for(option):
    """Texts that the option cannot be."""
    kind, choices = option["type"], option.get("choices", [])
    if kind in ("integer", "number", "seed"):
        least, most = option.get("range", (0, 2**64 - 1))
        return ["x", "", " ", "nan", "inf", "-inf", "1e999", "1,5", "0x", str(least - 1), str(most * 2 + 2), "9" * 400]
    if kind == "choice":
        return ["x", "", choices[0].upper(), f"{choices[0]},{choices[0]}"]
    if kind == "numbers":
        return ["x", "", "1,,2", "nan", "1,inf", "1e999"]
    if kind == "boolean":
        return ["maybe", "2"]
    return []


def options(*arguments):
    return json.loads(subprocess.run([PROGRAM, "options", "--json", *arguments], capture_output=True, check=True).stdout)


def of_flag(option):
    return "--" + option["name"].replace("_", "-")


def test_values_of_options(tmp_path):
    machine = [{"name": "threads", "type": "integer", "range": (1, 4096)}, {"name": "dtype", "type": "choice", "choices": ["auto"]},
               {"name": "strength", "type": "number", "range": (0, 1)}]  # fmt: skip
    cases = []
    for option in [*options(), *machine]:
        before = ["--image", "x.png"] if option["name"] == "strength" else []
        for value in values_for(option) if option["name"] != "enhance_maps" else []:
            flag = of_flag(option)
            cases.append(Case(f"{flag}={value[:9]}", ["generate", "x", *before, f"{flag}={value}"], [flag]))
    check(cases[:: 1 if STRIDE == 1 else 5], tmp_path, 60)


def test_options_of_other_families(checkpoints, tmp_path):
    cases = []
    for name, checkpoint in checkpoints.items():
        own = {option["name"] for option in options("--model", str(checkpoint))}
        for option in options():
            if option["name"] in own or option["type"] == "conditions":
                continue
            value = option["default"] if option["default"] is not None else option.get("range", ["x"])[0]
            flag = of_flag(option) if option["type"] == "boolean" else f"{of_flag(option)}={value}"
            cases.append(Case(f"{name} {flag}", ["generate", "x", "--model", None, flag], [of_flag(option)], checkpoint))
    check(cases, tmp_path, 30)


# ---- configurations

# Fields that are not read, as Python's libraries write them: what training, other parts or the files themselves tell.
T5 = """classifier_dropout dense_act_fn dropout_rate dtype eos_token_id initializer_factor is_decoder is_encoder_decoder
    is_gated_act num_decoder_layers pad_token_id scale_decoder_outputs tie_word_embeddings transformers_version use_cache"""
FLOW = "_diffusers_version base_image_seq_len base_shift max_image_seq_len max_shift time_shift_type"
UNREAD = {
    "cogvideox": {
        "scheduler/scheduler_config.json": "_diffusers_version clip_sample clip_sample_range sample_max_value",
        "text_encoder/config.json": f"{T5} model_type",
        "transformer/config.json": "_diffusers_version attention_bias dropout norm_elementwise_affine patch_bias",
        "vae/config.json": """_diffusers_version down_block_types force_upcast in_channels latents_mean latents_std norm_eps
            shift_factor use_quant_conv""",
    },
    "hunyuan-video": {
        "scheduler/scheduler_config.json": FLOW,
        "text_encoder/config.json": """attention_bias attention_dropout bos_token_id dtype eos_token_id initializer_range
            mlp_bias model_type pad_token_id pretraining_tp tie_word_embeddings transformers_version use_cache""",
        "text_encoder_2/config.json": """attention_dropout bos_token_id dtype initializer_factor initializer_range
            model_type pad_token_id projection_dim transformers_version""",
        "transformer/config.json": "_diffusers_version",
        "vae/config.json": "_diffusers_version down_block_types in_channels",
    },
    "ltx-video": {
        "scheduler/scheduler_config.json": FLOW,
        "text_encoder/config.json": f"{T5} model_type",
        "transformer/config.json": "_diffusers_version attention_bias attention_out_bias norm_elementwise_affine",
        "vae/config.json": """_diffusers_version block_out_channels downsample_type encoder_causal in_channels
            layers_per_block temporal_compression_ratio""",
    },
    "open-sora": {
        "OpenSora-STDiT-v3/config.json": """class_dropout_prob drop_path enable_flash_attn enable_layernorm_kernel
            enable_sequence_parallelism freeze_y_embedder input_size only_train_temporal transformers_version""",
        "OpenSora-VAE-v1.2/config.json": """vae_2d.from_pretrained vae_2d.micro_batch_size vae_2d.config.in_channels
            vae_2d.config.out_channels vae_2d.config.down_block_types vae_2d.config.up_block_types
            vae_2d.config.sample_size vae_2d.config.scaling_factor vae_2d.config.shift_factor
            vae_2d.config.latents_mean vae_2d.config.latents_std vae_2d.config.force_upcast
            vae_2d.config.use_quant_conv vae_2d.config.use_post_quant_conv vae_2d.config._use_default_values
            vae_2d.config._class_name vae_2d.config._diffusers_version freeze_vae_2d cal_loss""",
        "t5-v1_1-xxl/config.json": T5,
    },
    "wan": {
        "image_encoder/config.json": """attention_dropout dtype initializer_factor initializer_range model_type projection_dim
            transformers_version""",
        "image_processor/preprocessor_config.json": "do_convert_rgb image_processor_type",
        "scheduler/scheduler_config.json": """_diffusers_version beta_end beta_schedule beta_start dynamic_thresholding_ratio
            rescale_betas_zero_snr sample_max_value sigma_max sigma_min steps_offset time_shift_type timestep_spacing
            trained_betas""",
        "text_encoder/config.json": f"{T5} decoder_start_token_id",
        "transformer/config.json": "_diffusers_version",
        "vae/config.json": "_diffusers_version dropout",
    },
}


def fields_of(content, above=()):
    for name, value in content.items():
        if isinstance(value, dict):
            yield from fields_of(value, (*above, name))
        else:
            yield (*above, name), value


def is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def damages(value):
    """Kinds of damage, each with the value that comes of it; None: the field is taken out."""
    yield "missing", None
    yield "of another type", {"not": "this"}
    for kind, change in (("negative", lambda v: -abs(v) or -1), ("huge", lambda v: 10**18 if isinstance(v, int) else 1e300)):
        if is_number(value):
            yield kind, change(value)
        elif isinstance(value, list) and value and all(map(is_number, value)):
            yield kind, [change(v) for v in value]


def with_field(content, path, value):
    content = json.loads(json.dumps(content))
    at = content
    for name in path[:-1]:
        at = at[name]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return json.dumps(content).encode()


def test_configurations(checkpoints, tmp_path):
    cases = []
    for name, checkpoint in checkpoints.items():
        for file in sorted(checkpoint.rglob("*config.json")):
            part = str(file.relative_to(checkpoint))
            if "tokenizer" in part:
                continue
            content = json.loads(file.read_text())
            for path, value in fields_of(content):
                shown = ".".join(path)
                unread = shown in UNREAD[name][part].split()
                for kind, damaged in damages(value):
                    fails = False if unread else True if kind == "of another type" else None
                    cases.append(
                        Case(f"{name} {part} {shown} {kind}", ["inspect", None, *SIZE], [""], checkpoint,
                             {part: with_field(content, path, damaged)}, fails)
                    )  # fmt: skip
    check(cases[::STRIDE], tmp_path, 50)


# ---- tensors


def weights_of(checkpoint):
    for file in sorted(checkpoint.rglob("*.safetensors")):
        yield str(file.relative_to(checkpoint)), file


def tensors_as(tensors, tmp_path):
    save_file(tensors, tmp_path / "changed.safetensors")
    return (tmp_path / "changed.safetensors").read_bytes()


def test_tensors(checkpoints, tmp_path):
    cases = []
    for name, checkpoint in checkpoints.items():
        for part, file in weights_of(checkpoint):
            tensors = load_file(file)
            text = part.startswith(("text", "t5", "image"))
            read = [key for key in sorted(tensors) if text or ("encoder." not in key and "quant_conv" not in key)]
            repeated = Counter(re.sub(r"\b\d+\b", "*", key) for key in read)
            # A layer that stands alone has a bias or not; of the last blocks, some are known and not read.
            names = [key for key in read if ".0." in key and repeated[re.sub(r"\b\d+\b", "*", key)] > 1]
            for key in (names[len(names) // 3], names[2 * len(names) // 3]):
                tensor = tensors[key]
                changes = {
                    "missing": {k: t for k, t in tensors.items() if k != key},
                    "of another shape": {**tensors, key: numpy.zeros((*tensor.shape, 2), tensor.dtype)},
                    "of whole numbers": {**tensors, key: tensor.astype(numpy.int32)},
                }
                for kind, changed in changes.items():
                    cases.append(Case(f"{name} {part} {key} {kind}", ["inspect", None, *SIZE], [part], checkpoint,
                                      {part: tensors_as(changed, tmp_path)}))  # fmt: skip
    check(cases, tmp_path, 60)


# ---- files that are cut


def test_files_that_are_cut(checkpoints, tmp_path):
    cases = []
    for name, checkpoint in checkpoints.items():
        for part, file in weights_of(checkpoint):
            content = file.read_bytes()
            (header,) = struct.unpack("<Q", content[:8])
            for length in (0, 7, 8, 8 + header // 2, 8 + header, (8 + header + len(content)) // 2, len(content) - 1):
                cases.append(Case(f"{name} {part} cut to {length}", ["inspect", None, *SIZE], [part], checkpoint,
                                  {part: content[:length]}))  # fmt: skip
        for file in sorted(checkpoint.rglob("*config.json")):
            content, part = file.read_bytes(), str(file.relative_to(checkpoint))
            if "tokenizer" in part:
                continue
            for length in (0, 1, len(content) // 2, len(content.rstrip()) - 1):
                cases.append(Case(f"{name} {part} cut to {length}", ["inspect", None, *SIZE], [part], checkpoint,
                                  {part: content[:length]}))  # fmt: skip
    check(cases[:: 1 if STRIDE == 1 else 3], tmp_path, 40)
