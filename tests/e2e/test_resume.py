"""A run that was stopped goes on, and makes the bits of a run that never was."""

import json
import os
import signal
import subprocess
import time

import pytest
from conftest import PROGRAM, error_line
from same_bits import arguments_for
from tiny_checkpoints import make_checkpoint

# What a state has to hold: DPM's last prediction, measured CFI, maps, the two branches of true guidance, noise on
# conditions, UniPC's last predictions, two experts, clips and frames already noised, types and files, what caches keep.
RUNS = {
    "cogvideox-dpm": "--enhance-weight auto --trace-maps --steps 6 --cache first-block --cache-threshold 2",
    "cogvideox-1.5": "--dtype bfloat16 --steps 8 --cache easy --cache-threshold 1",
    "hunyuan-video": "--true-guidance 3 --negative-prompt 'blue square' --enhance-weight auto --steps 5 "
                     "--cache taylor --cache-interval 2",
    "hunyuan-image-replace": "--steps 4",
    "ltx-condition": "--image inputs/fits.png --image-cond-noise-scale 0.5 --decode-timestep 0.1 --steps 4",
    "ltx-two-passes": "--image inputs/fits.png --enhance-weight auto --steps 3",
    "open-sora": "--frames 34 --loop 2 --width 32 --height 24 --image inputs/wide.png --strength 0.6 "
                 "--last-image inputs/other.png --enhance-weight auto --steps 4 --cache first-block --cache-threshold 2",
    "wan-t2v-order-3": "--video inputs/clip-9.mkv --steps 7 --cache mag --mag-ratios 1,1",
    "wan-a14b-i2v": "--last-image inputs/other.png --enhance-weight auto --steps 5",
}  # fmt: skip
MADE = ("a.mp4", "a.json", "latents.safetensors", "trace.json")


def start(folder, arguments):
    everything = ["--out", folder / "a.mp4", "--save-latents", folder / "latents.safetensors", "--trace", folder / "trace.json"]
    return [PROGRAM, "generate", *arguments, *everything]


def contents(folder):
    """What a run leaves, but for the seconds that it took."""
    made = {name: (folder / name).read_bytes() for name in MADE}
    record = json.loads(made["a.json"])
    del record["seconds"]
    return {**made, "a.json": record}


def states_of(command, folder, cwd):
    """Runs a command to its end; returns the states that it kept on its way, each as a file of its own."""
    process = subprocess.Popen(command, cwd=cwd, stderr=subprocess.PIPE)
    states, seen = [], set()
    while process.poll() is None:
        copy = folder / f"state-{len(states)}"
        try:
            os.link(folder / "a.mp4.resume", copy)  # the very file: the run puts a new one in its place
        except FileNotFoundError:
            continue
        number = copy.stat().st_ino
        if number in seen:
            copy.unlink()
        else:
            seen.add(number)
            states.append(copy)
    assert process.returncode == 0, process.stderr.read()
    return states


@pytest.mark.parametrize("name", RUNS)
def test_every_state_leads_to_the_same_video(files, tmp_path, name):
    make_checkpoint(name, files)
    once, again = tmp_path / "once", tmp_path / "again"
    once.mkdir(), again.mkdir()
    arguments = arguments_for(name, RUNS[name])
    subprocess.run(start(once, arguments), cwd=files, check=True, capture_output=True)
    states = states_of([*start(again, arguments), "--checkpoint-every", "0"], again, files)
    assert len(states) >= 3
    assert contents(again).keys() == contents(once).keys()
    assert not (again / "a.mp4.resume").exists()
    for state in [states[0], states[len(states) // 2], states[-2], states[-1]]:
        for made in MADE:
            (again / made).unlink()
        os.link(state, again / "a.mp4.resume")
        result = subprocess.run([PROGRAM, "generate", "--resume", again / "a.mp4.resume"], capture_output=True, cwd="/")
        assert result.returncode == 0, result.stderr
        made, expected = contents(again), contents(once)
        assert [file for file in MADE if made[file] != expected[file]] == []
        assert not (again / "a.mp4.resume").exists()


LONG = ("--seed", "1", "--width", "96", "--height", "64", "--frames", "9", "--steps", "80", "--threads", "1")


def killed(arguments, number, cwd, when):
    """Starts `eav generate`, sends a signal once `when` says so, and waits for the end."""
    process = subprocess.Popen([PROGRAM, "generate", *map(str, arguments)], cwd=cwd, stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # fmt: skip
    end = time.monotonic() + 60
    while not when() and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.005)
    process.send_signal(number)
    return process.wait(), process.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_after_a_signal(eav, out, tiny, number):
    arguments = ["a red circle", "--model", tiny, *LONG, "--checkpoint-every", "0"]
    assert eav("generate", *map(str, arguments), "--out", "once.mp4").returncode == 0
    code, stderr = killed([*arguments, "--out", "a.mp4"], number, out, (out / "a.mp4.resume").exists)
    assert code == (-number if number == signal.SIGKILL else 128 + number)
    if number != signal.SIGKILL:
        assert "`eav generate --resume" in stderr.splitlines()[-1]
    assert not (out / "a.mp4").exists()
    result = eav("generate", "--resume")  # the only one here
    assert result.returncode == 0, result.stderr
    assert (out / "a.mp4").read_bytes() == (out / "once.mp4").read_bytes()
    assert sorted(f.name for f in out.iterdir()) == ["a.json", "a.mp4", "once.json", "once.mp4"]


def test_what_is_finished_is_not_made_again(eav, out, tiny):
    (out / "prompts.txt").write_text("a red circle\na blue square\na green line\n")
    arguments = ["--prompt-file", "prompts.txt", "--model", tiny, *LONG]
    assert eav("generate", *map(str, arguments), "--out", "once.mp4").returncode == 0
    killed([*arguments, "--out", "a.mp4"], signal.SIGKILL, out, (out / "a-001.mp4").exists)
    first = (out / "a-000.mp4").stat()
    result = eav("generate", "--resume", "a.mp4.resume")
    assert result.returncode == 0, result.stderr
    assert (out / "a-000.mp4").stat() == first
    assert "a-000.mp4" not in result.stdout
    for index in range(3):
        assert (out / f"a-00{index}.mp4").read_bytes() == (out / f"once-00{index}.mp4").read_bytes()
    assert not list(out.glob("*.resume")) and not list(out.glob(".*"))


@pytest.fixture
def unfinished(out, tiny):
    killed(["a red circle", "--model", tiny, *LONG, "--checkpoint-every", "0", "--out", "a.mp4"], signal.SIGKILL, out,
           (out / "a.mp4.resume").exists)  # fmt: skip
    return out / "a.mp4.resume"


def test_a_run_goes_on_as_it_was_begun(eav, unfinished):
    refused = error_line(eav("generate", "--resume", unfinished, "--steps", "3"))
    assert "--steps cannot be given with --resume" in refused
    assert eav("generate", "--resume", unfinished, "--vae-tiling", "on").returncode == 0


def test_an_unfinished_run_is_not_replaced_in_silence(eav, out, tiny, unfinished):
    again = ("generate", "a red circle", "--model", str(tiny), "--out", "a.mp4", *LONG)
    assert "a.mp4.resume' holds an unfinished run" in error_line(eav(*again))
    assert unfinished.exists()
    assert eav(*again, "--overwrite").returncode == 0
    assert not unfinished.exists()


def test_another_checkpoint_is_refused(eav, checkpoint, out):
    killed(["a red circle", "--model", checkpoint, *LONG, "--checkpoint-every", "0", "--out", "a.mp4"], signal.SIGKILL, out,
           (out / "a.mp4.resume").exists)  # fmt: skip
    config = checkpoint / "scheduler/scheduler_config.json"
    config.write_text(config.read_text() + " ")
    result = eav("generate", "--resume", "a.mp4.resume")
    assert result.returncode == 1
    assert "the model's fingerprint is" in result.stderr and "--force" in error_line(result)
    assert (out / "a.mp4.resume").exists() and not (out / "a.mp4").exists()
    assert eav("generate", "--resume", "a.mp4.resume", "--force").returncode == 0


def test_what_is_no_state_is_refused(eav, out, unfinished):
    whole = unfinished.read_bytes()
    for name, content in {"empty": b"", "cut": whole[:-1000], "text": b"{}" * 100, "other": whole.replace(b"eav_run", b"eav_sun")}.items():
        (out / name).write_bytes(content)
        result = eav("generate", "--resume", name)
        assert result.returncode == 1 and f"'{name}' holds no unfinished run" in error_line(result)
    assert "there is no such file" in error_line(eav("generate", "--resume", "nowhere"))
    (out / "b.mp4.resume").write_bytes(whole)
    assert "name one: a.mp4.resume, b.mp4.resume" in error_line(eav("generate", "--resume"))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
def test_latents_outlive_a_disk_that_is_full(eav, out, tiny):
    arguments = ["a red circle", "--model", str(tiny), *LONG, "--steps", "3"]
    assert eav("generate", *arguments, "--out", "once/").returncode == 0
    (out / "small").mkdir()
    script = """
        mount -t tmpfs -o size=320k none small || exit 77
        head -c 220k /dev/zero > small/filler
        "$@" 2> err && exit 1
        ls -A small
        rm small/filler && cd small && "$0" generate --resume || exit 1
        ls -A && diff -r frames ../once
    """
    command = ["unshare", "-m", "bash", "-c", script, PROGRAM, PROGRAM, "generate", *arguments, "--out", "small/frames/"]
    result = subprocess.run(command, cwd=out, capture_output=True, text=True)
    if result.returncode == 77 or "unshare:" in result.stderr:
        pytest.skip("this machine lets nobody mount a file system")
    error = (out / "err").read_text().splitlines()[-1]
    assert result.returncode == 0, result.stdout + result.stderr + error
    assert "No space left" in error and error.endswith("small/frames.resume` goes on")
    assert result.stdout.split()[:2] == ["filler", "frames.resume"] and result.stdout.split()[-2:] == ["frames", "frames.json"]
