"""Runs that something befalls, and that go on: each ends in the video of a run that nothing befell.

    faults.py [--runs 100] [--seconds 10] [--only FAULT] [--program build/eav] [--jobs 2] [--seed 0]

Each run of `eav generate` meets one fault at a random time. Then its cause is undone, and `eav generate --resume` has to
lead to the same files, byte for byte, with nothing half-written and no process left. Prints a table. Full and read-only
disks are small file systems in a mount namespace of their own; where that is refused, they are left out.
"""

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Checkpoints and options. Steps come to them, as many as make a run as long as it should be.
RUNS = {
    "demo": "--width 64 --height 64 --frames 9 --scheduler dpm --enhance-weight auto",
    "cogvideox": "--trace-maps --frames 17",
    "hunyuan-video": "--true-guidance 3 --negative-prompt 'blue square' --enhance-weight auto",
    "ltx-condition": "--image inputs/fits.png --image-cond-noise-scale 0.5",
    "open-sora": "--frames 34 --loop 2 --width 32 --height 24 --image inputs/wide.png --last-image inputs/other.png",
}
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGINT": signal.SIGINT, "SIGTERM": signal.SIGTERM}
OF_DISKS = ["full disk", "read-only disk"]
FAULTS = [*SIGNALS, *OF_DISKS, "no more memory", "cut checkpoint"]
OUTPUTS = ["--out", "disk/a.mp4", "--save-latents", "disk/latents.safetensors", "--trace", "disk/trace.json"]
MADE = ["a.json", "a.mp4", "latents.safetensors", "trace.json"]


def contents(folder):
    """What a run made in its folder, but for that folder's name and the seconds that it took."""
    made = {name: (folder / "disk" / name).read_bytes() for name in MADE}
    record = json.loads(made["a.json"])
    del record["seconds"]
    made["a.json"] = json.dumps(record).replace(str(folder), "")
    return made


class Run:
    """One run in a folder that has disk/, inputs/ and a checkpoint of its own."""

    def __init__(self, program, folder, arguments):
        self.program, self.folder, self.disk = program, folder, folder / "disk"
        self.arguments = [*arguments, *OUTPUTS, "--checkpoint-every", "0"]

    def start(self, *arguments):
        return subprocess.Popen([self.program, "generate", *(arguments or self.arguments)], cwd=self.folder,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
                                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # fmt: skip

    def files(self):
        return sorted(file.name for file in self.disk.iterdir())


def meet(fault, run, process, rng):
    """Lets something happen to a running process; returns what undoes it."""
    if fault in SIGNALS:
        process.send_signal(SIGNALS[fault])
        return lambda: None
    if fault == "full disk":
        filler = run.disk / "filler"
        spared = rng.choice([0, 4096, 65536])
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while (room := os.statvfs(run.disk)).f_bavail * room.f_frsize > spared:
                file.write(bytes(4096))
        return filler.unlink
    if fault == "read-only disk":
        subprocess.run(["mount", "-o", "remount,ro", run.disk], check=True)
        return lambda: subprocess.run(["mount", "-o", "remount,rw", run.disk], check=True)
    if fault == "no more memory":
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + rng.choice([0, 1 << 20, 16 << 20])
        resource.prlimit(process.pid, resource.RLIMIT_AS, (most, most))
        return lambda: None
    victim = max(run.folder.glob("checkpoints/*/**/*.safetensors"), key=lambda file: file.stat().st_size)
    whole = victim.read_bytes()
    os.truncate(victim, len(whole) // 3)

    def restore():
        with victim.open("r+b") as file:  # the very file
            file.write(whole)

    return restore


def one(program, folder, arguments, fault, seconds, seed):
    """One run with its fault; returns what came of it."""
    rng = random.Random(seed)
    run = Run(program, folder, arguments)
    run.disk.mkdir()
    if fault in OF_DISKS:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "none", run.disk], check=True)
    process = run.start()
    first = "" if fault in SIGNALS else process.stderr.readline()  # the program has begun
    time.sleep(rng.uniform(0.05, seconds))
    ended = process.poll() is not None
    undo = meet(fault, run, process, rng) if not ended else lambda: None
    errors = (first + process.communicate(timeout=300)[1]).splitlines()
    undo()
    left = run.files()
    code = process.returncode
    number = SIGNALS.get(fault)
    wanted = {0, 128 + number, -number} if number else {0, 1}  # a signal may come before the program has begun
    problem = "" if code in wanted else f"exit {code}: {errors[-1:]}"
    halves = [name for name in left if name not in MADE and name != "a.mp4.resume"]
    if halves and fault != "SIGKILL":
        problem = problem or f"left {halves}"
    finished = code == 0 or (number and left == MADE)  # a signal may come while the process ends
    if not finished:
        again = run.start(*(["--resume", "disk/a.mp4.resume"] if "a.mp4.resume" in left else []))
        said = again.communicate(timeout=300)[1].splitlines()
        if again.returncode != 0:
            problem = problem or f"does not go on: {said[-1:]}"
    if not problem and run.files() != MADE:
        problem = f"there are {run.files()}"
    if not problem:
        expected, made = contents(folder.parent / "undisturbed"), contents(folder)
        other = [name for name in MADE if made[name] != expected[name]]
        problem = f"differs: {other}" if other else ""
    how = "finished" if finished else "from its state" if "a.mp4.resume" in left else "from the beginning"
    return {"how": how, "problem": problem, "line": errors[-1] if errors else ""}


def prepare(folder, name):
    folder.mkdir(parents=True)
    (folder / "inputs").symlink_to(folder.parents[1] / "inputs")
    shutil.copytree(folder.parents[1] / "checkpoints" / name, folder / "checkpoints" / name)
    return folder


def undisturbed(program, root, name, seconds):
    """Makes the video that all runs of this name have to make; returns their options."""
    from same_bits import arguments_for
    from tiny_checkpoints import make_checkpoint

    make_checkpoint(name, root / "checkpoints")
    folder, steps, took = prepare(root / name / "undisturbed", name), 20, 0
    while took < seconds:
        shutil.rmtree(folder / "disk", ignore_errors=True)
        (folder / "disk").mkdir()
        arguments = arguments_for(name, f"{RUNS[name]} --steps {steps}")
        begin = time.monotonic()
        subprocess.run([program, "generate", *arguments, *OUTPUTS, "--checkpoint-every", "0"], cwd=folder, check=True,
                       capture_output=True)  # fmt: skip
        took = time.monotonic() - begin
        steps = min(900, max(int(steps * min(4, 1.15 * seconds / took)), steps + 1))
        if steps == 900:
            break
    return arguments, took


def can_mount():
    return subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode == 0


def meet_faults(program, runs, seconds, faults, jobs, seed):
    """Does so many runs; returns [(name, fault, what came of it)]."""
    from tiny_checkpoints import make_inputs

    faults = [fault for fault in faults if fault not in OF_DISKS or can_mount()]
    results = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_inputs(root)
        names = list(RUNS)[:runs]
        with ThreadPoolExecutor(jobs) as pool:
            prepared = dict(zip(names, pool.map(lambda name: undisturbed(program, root, name, seconds), names), strict=True))

            def do(index):
                name, fault = names[index % len(names)], faults[index % len(faults)]
                arguments, took = prepared[name]
                run = prepare(root / name / f"run-{index}", name)
                task = [program, str(run), arguments, fault, 0.95 * took, f"{seed}-{index}"]
                child = [sys.executable, __file__, "--one", json.dumps(task)]
                done = subprocess.run(["unshare", "-m", *child] if fault in OF_DISKS else child, capture_output=True, text=True)
                shutil.rmtree(run)
                came = json.loads(done.stdout) if done.returncode == 0 else {"how": "", "problem": done.stderr[-300:], "line": ""}
                return name, fault, came

            for result in pool.map(do, range(runs)):
                results.append(result)
                if result[2]["problem"]:
                    print(*result[:2], result[2]["problem"], file=sys.stderr, flush=True)
    here = [p for p in Path("/proc").iterdir() if p.name.isdigit() and str(root) in command_of(p)]
    if here:
        results.append(("", "", {"how": "", "problem": f"processes left: {here}", "line": ""}))
    return results


def command_of(process):
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=ROOT / "build/eav", type=lambda path: Path(path).resolve(strict=True))
    parser.add_argument("--runs", default=100, type=int)
    parser.add_argument("--seconds", default=10, type=float, help="that a run takes at least")
    parser.add_argument("--only", default=FAULTS, choices=FAULTS, nargs="+")
    parser.add_argument("--jobs", default=os.cpu_count(), type=int)
    parser.add_argument("--seed", default=0)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        program, folder, *rest = json.loads(options.one)
        return print(json.dumps(one(program, Path(folder), *rest)))

    results = meet_faults(str(options.program), options.runs, options.seconds, options.only, options.jobs, options.seed)
    print(f"{'':16}{'runs':>6}{'finished':>10}{'from its state':>16}{'from the beginning':>20}{'problems':>10}")
    for fault in options.only:
        came = [result for _, of, result in results if of == fault]
        how = Counter(result["how"] for result in came)
        problems = sum(bool(result["problem"]) for result in came)
        print(f"{fault:16}{len(came):6}{how['finished']:10}{how['from its state']:16}{how['from the beginning']:20}{problems:10}")
    return sys.exit(any(result["problem"] for _, _, result in results))


if __name__ == "__main__":
    main()
