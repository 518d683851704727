"""Runs programs in turn, A B A B …, so that a machine whose speed drifts is as fast for one as for the other.

Each program runs once for every line on its standard input, and answers with a line of the seconds that it took and its
peak memory in MiB, or more numbers behind these: eav_bench, and reference_loop() for the reference.
"""

import argparse
import pathlib
import re
import statistics
import subprocess
import sys
import time

BENCH = pathlib.Path(__file__).resolve().parents[1] / "build" / "benchmarks" / "eav_bench"


def peak_memory_mib():
    """Of this process alone: getrusage() would count what its parent held when it started it."""
    return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1024


def reference_loop(run):
    """Answers like eav_bench, with run()."""
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
        print(f"{seconds:.6f} {peak_memory_mib():.1f}", flush=True)


def block_loop(run, lists):
    """Answers like `eav_bench blocks`: run() passes through the modules `lists`, one of each kind, whose seconds count."""
    began, took = {}, {}

    def before(module, *_):
        began[module] = time.perf_counter()

    def after(module, *_):
        took[module] = time.perf_counter() - began[module]

    for module in lists:
        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)
    for _ in sys.stdin:
        run()
        each = [took[module] for module in lists]
        print(f"{sum(each):.6f} {peak_memory_mib():.1f}", *(f"{seconds:.6f}" for seconds in each), flush=True)


def alternate(commands, rounds, warm_up=True):
    """commands {name: command line} -> {name: [(seconds, peak MiB), …]}, one tuple for each round after the warm-up."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = {name: subprocess.Popen([str(part) for part in command], **pipes) for name, command in commands.items()}

    def once(process):
        process.stdin.write("run\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise SystemExit("a benchmark's program ended early")
        return tuple(float(number) for number in answer.split())

    if warm_up:
        for process in processes.values():
            once(process)
    results = {name: [] for name in processes}
    for _ in range(rounds):
        for name, process in processes.items():
            results[name].append(once(process))
    for process in processes.values():
        process.stdin.close()
        process.wait()
    return results


def forward_parser(description, reference_arguments):
    """The options of a benchmark of one forward pass; --reference, with so many arguments, runs the reference alone."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default=BENCH, type=pathlib.Path)
    parser.add_argument("--rounds", default=5, type=int)
    parser.add_argument("--threads", default=2, type=int)
    parser.add_argument("--types", default=["float32"], nargs="+", choices=["float32", "bfloat16"])
    parser.add_argument("--reference", nargs=reference_arguments, help=argparse.SUPPRESS)
    return parser


def least_and_peak(results):
    """Of what alternate() gives: {name: least seconds}, which a busy machine disturbs least, and {name: most MiB}."""
    least = {name: min(seconds for seconds, _ in runs) for name, runs in results.items()}
    return least, {name: max(memory for _, memory in runs) for name, runs in results.items()}


def median_ratio(ours, theirs):
    """The median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
