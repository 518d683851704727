"""The program on a device that is no CPU: the same latents, and what a step costs there.

The device is the stand-in of tests/fake_device: the host cannot read its memory, tensors of two devices do not mix, and
it counts. What a step takes is the difference between runs of two and of three steps.
"""

import json
from pathlib import Path

import pytest
import safetensors.torch

ROOT = Path(__file__).resolve().parents[2]

PROMPT = "a red circle"
CASES = {  # a checkpoint, and options
    "cogvideox": ("demo", {"width": 32, "height": 32, "frames": 9}),
    "cogvideox dpm": ("demo", {"width": 32, "height": 32, "frames": 9, "scheduler": "dpm"}),
    "cogvideox offload": ("demo", {"width": 32, "height": 32, "frames": 9, "offload": True}),
    "cogvideox adaptive": ("demo", {"width": 32, "height": 32, "frames": 9, "adaptive": True}),
    "hunyuan video": ("hunyuan-video", {"width": 32, "height": 32, "frames": 9}),
    "hunyuan image": ("hunyuan-image-replace", {"width": 32, "height": 32, "frames": 9, "image": True}),
    "ltx video": ("ltx-video-0.9.5", {"width": 64, "height": 64, "frames": 17}),
    "ltx condition": ("ltx-condition", {"width": 64, "height": 64, "frames": 17, "image": True}),
    "open sora": ("open-sora", {"width": 64, "height": 48, "frames": 17}),
    "wan": ("wan-t2v-order-3", {"width": 32, "height": 32, "frames": 9}),
    "wan first frame": ("wan-ti2v", {"width": 64, "height": 64, "frames": 9, "image": True}),
    "wan image": ("wan-i2v", {"width": 32, "height": 32, "frames": 9, "image": True}),
    "open sora image": ("open-sora", {"width": 64, "height": 48, "frames": 17, "image": True}),
}
SYNCHRONIZATIONS = {"cogvideox adaptive": 1}  # in a step, of cases that are allowed any
NOISE = {"cogvideox dpm": 2, "ltx condition": 1, "open sora image": 1}  # copies to the device in a step, of drawn noise


@pytest.fixture(scope="session")
def picture(tmp_path_factory):
    from tiny_checkpoints import pictures

    path = tmp_path_factory.mktemp("pictures") / "picture.png"
    pictures(1, 64, 64, seed=0)[0].save(path)
    return path


@pytest.fixture(scope="session")
def generate(checkpoint, program, tmp_path_factory, request):
    """generate(case, steps, device=...): the latents, and what the device counted."""
    known = {}
    folder = tmp_path_factory.mktemp("out")

    def run(case, steps, device="fake"):
        if (case, steps, device) not in known:
            name, options = CASES[case]
            arguments = []
            for option, value in options.items():
                if option == "image":
                    arguments += ["--image", request.getfixturevalue("picture")]
                elif option == "offload":
                    arguments += ["--offload"]
                elif option == "adaptive":
                    arguments += ["--enhance-weight", "auto"]
                else:
                    arguments += [f"--{option}", value]
            latents = folder / "latents.safetensors"
            done, counters = program(
                "eav", "generate", PROMPT, "--model", checkpoint(name), "--seed", 1, "--steps", steps, "--threads", 1,
                "--latents-only", "--dtype", "float32", "--device", device, "--save-latents", latents, "--overwrite", *arguments
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            known[case, steps, device] = safetensors.torch.load_file(latents)["latents"], counters
        return known[case, steps, device]

    return run


@pytest.fixture
def of_a_step(generate):
    """of_a_step(case): what each counter grows by with a step."""

    def difference(case):
        two, three = (generate(case, steps)[1] for steps in (2, 3))
        for kind in ("by_kernel", "by_synchronization"):  # shown where a test fails
            print({name: n - two[kind].get(name, 0) for name, n in three[kind].items() if n != two[kind].get(name, 0)})
        return {name: n - two[name] for name, n in three.items() if not name.startswith("by_")}

    return difference


@pytest.mark.parametrize("case", CASES)
def test_latents_are_those_of_the_cpu(generate, case):
    ours, theirs = generate(case, 3)[0], generate(case, 3, "cpu")[0]
    assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()


AT_HAND = [case for case in CASES if "offload" not in case]  # whose weights are on the device


@pytest.mark.parametrize("case", AT_HAND)
def test_a_step_does_not_wait_for_the_device(of_a_step, case):
    assert of_a_step(case)["synchronizations"] <= SYNCHRONIZATIONS.get(case, 0)


@pytest.mark.parametrize("case", AT_HAND)
def test_a_step_copies_noise_alone_to_the_device(of_a_step, case):
    assert of_a_step(case)["copies_to_device"] == NOISE.get(case, 0)


def test_with_offload_each_block_is_copied_once(of_a_step):
    """In one piece, of pinned memory, in a stream of its own that the computing one waits for."""
    layers = json.loads((ROOT / "models/demo/transformer/config.json").read_text())["num_layers"]
    counted = of_a_step("cogvideox offload")
    assert counted["copies_to_device"] == counted["pinned_copies"] == counted["event_waits"] == layers
    assert counted["prepared_on_host"] == 0
    assert counted["synchronizations"] <= layers  # of the thread that fills the buffers


@pytest.mark.parametrize("name, of_patches", [
    ("demo", 4), ("hunyuan-image-replace", 0), ("ltx-video-0.9.5", 0), ("open-sora", 0),
])  # fmt: skip
def test_convolutions_keep_channels_last(checkpoint, program, tmp_path, picture, name, of_patches):
    """All but the one that makes tokens of patches, whose latents and weight have other layouts."""
    image = ["--image", picture] if "image" in name else []
    done, counters = program("eav", "generate", PROMPT, "--model", checkpoint(name), "--steps", 2, "--width", 64, "--height", 64,
                             "--frames", 17, "--device", "fake", "--out", tmp_path / "video.mp4", *image)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert counters["by_kernel"]["aten::convolution_overrideable"] > 0 and counters["converted_layouts"] == of_patches


def test_weights_are_converted_on_the_device(generate):
    """Those of the demo are stored in 16 bits: the file's bytes go there as they are."""
    assert generate("cogvideox", 2)[1]["prepared_on_host"] <= 1  # the positions, which are computed in float64
