"""`predict` beside `qnnsim eval` on the 10,000 test images of MNIST: equal, and about as fast.

DIR holds the files of MNIST as they are distributed. In turn, both read program and images and
compute all outputs: the command line as a process, the package in this one. The least of the runs
counts. The command is the package's own, which starts Python, or with --qnnsim a program.

    python python/tests/speed.py DIR [--qnnsim target/release/qnnsim]
"""

from __future__ import annotations

import argparse
import gzip
import os
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import qnnsim

PROGRAMS = Path(__file__).resolve().parents[2] / "programs"
IMAGES = "t10k-images-idx3-ubyte.gz"


def measured(call: Callable[[], object]) -> tuple[float, float, object]:
    """CPU and wall seconds of a call, with the processes that it waits for, and its result."""

    def cpu() -> float:
        own, waited = (
            resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        return own.ru_utime + own.ru_stime + waited.ru_utime + waited.ru_stime

    before, started = cpu(), time.perf_counter()
    value = call()
    return cpu() - before, time.perf_counter() - started, value


def compare(name: str, command: Path, mnist: Path, runs: int) -> tuple[float, float]:
    """How many times as much CPU and wall time `predict` takes; exits where they differ."""
    file = PROGRAMS / f"{name}.bin"
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "y.npy"
        words = [command, "eval", file, "--images", mnist / IMAGES, "--output", results]

        def evaluate() -> None:
            subprocess.run(words, check=True, capture_output=True)

        def predict() -> np.ndarray:
            with gzip.open(mnist / IMAGES) as images:
                pixels = np.frombuffer(images.read(), np.uint8, offset=16)
            return qnnsim.load(file).predict(pixels.reshape(-1, 1, 28, 28))

        least = {"eval": (1e9, 1e9), "predict": (1e9, 1e9)}
        for _ in range(runs):
            for who, call in (("eval", evaluate), ("predict", predict)):
                cpu, wall, y = measured(call)
                least[who] = (min(least[who][0], cpu), min(least[who][1], wall))
        if not np.array_equal(np.load(results), y):
            sys.exit(f"{name}: predict and eval differ")
    (eval_cpu, eval_wall), (cpu, wall) = least["eval"], least["predict"]
    print(
        f"{name}: {len(y):,} images equal; predict {cpu:.3f} s CPU, {wall:.3f} s; eval"
        f" {eval_cpu:.3f} s CPU, {eval_wall:.3f} s; ratio {cpu / eval_cpu:.2f} CPU,"
        f" {wall / eval_wall:.2f} wall",
        flush=True,
    )
    return cpu / eval_cpu, wall / eval_wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mnist", type=Path, metavar="DIR")
    own = Path(sysconfig.get_path("scripts")) / ("qnnsim.exe" if os.name == "nt" else "qnnsim")
    parser.add_argument("--qnnsim", type=Path, default=own, help="the command line")
    parser.add_argument("--runs", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--most", type=float, default=float("inf"), help="largest ratio taken")
    args = parser.parse_args()
    names = ("tcv_w1a1", "tcv_w8a8")
    ratios = [compare(name, args.qnnsim, args.mnist, args.runs) for name in names]
    if max(max(pair) for pair in ratios) > args.most:
        sys.exit(f"predict takes more than {args.most} times as long as eval")


if __name__ == "__main__":
    main()
