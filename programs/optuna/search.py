"""Searches hardware points for few cycles, little energy and little memory at once, with Optuna.

One qnnsim process takes a point a line and answers each with a line of JSON (`qnnsim run MODEL --points -`); NSGA-II
chooses the next point by what came of those before. At the end the best points are compiled and run once more, each by
itself, and must give the same figures.

    python3 -m venv venv && venv/bin/pip install -r programs/optuna/requirements.txt
    venv/bin/python programs/optuna/search.py [--trials N] [--qnnsim PATH]
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import optuna

PROGRAMS = pathlib.Path(__file__).resolve().parent.parent
MODEL = PROGRAMS / "tcv_w1a1.onnx"
IMAGE = PROGRAMS / "digits" / "digit_7.png"
OFFSET = "--pixel-offset=-128"

# What is searched. Memories have just enough words, or the network does not fit; then Optuna is told so.
SPACE = {
    "mac.rows": [4, 8, 16, 32],
    "mac.cols": [4, 8, 16, 32, 64],
    "mac.lanes": [32, 64, 128],
    "acc.banks": [2, 3, 4],
    "dram.width": [4, 8, 16],
    "act.words": [64, 128, 256, 512, 1024],
    "wgt.words": [128, 256, 512, 1024, 2048, 4096],
    "thr.words": [16, 32, 64, 128, 256],
}
OBJECTIVES = ["cycles", "energy_nj", "memory_bytes"]


def find_qnnsim(path):
    """The binary: as given, or QNNSIM, or on the path, or what cargo built here."""
    target = PROGRAMS.parent / "target"
    choices = [path, os.environ.get("QNNSIM"), "qnnsim", target / "release" / "qnnsim", target / "debug" / "qnnsim"]
    found = next((found for choice in choices if choice and (found := shutil.which(choice))), None)
    if found is None:
        sys.exit("qnnsim is not on the path: give --qnnsim PATH or QNNSIM=PATH, or run `cargo build --release`")
    return os.path.abspath(found)


def objectives(report):
    """What a report says of OBJECTIVES: one warm image, and all memories of the machine."""
    return [report["cycles"]["warm"], report["energy_pj"]["warm"] / 1000, sum(m["bytes"] for m in report["memories"])]


class Simulator:
    """A qnnsim process that is asked for one point after the other."""

    def __init__(self, qnnsim):
        command = [qnnsim, "run", MODEL, OFFSET, "--input", IMAGE, "--points", "-"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, point):
        self.process.stdin.write(json.dumps(point) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"qnnsim ended with exit code {self.process.wait()}")
        return json.loads(answer)

    def close(self):
        self.process.stdin.close()
        return self.process.wait()


def search(simulator, trials, seed):
    """Asks Optuna for points and tells it what they take; one that has no figures has failed."""
    study = optuna.create_study(
        directions=["minimize"] * len(OBJECTIVES), sampler=optuna.samplers.NSGAIISampler(population_size=24, seed=seed)
    )
    reports = {}
    for _ in range(trials):
        trial = study.ask()
        point = {key: trial.suggest_categorical(key, values) for key, values in SPACE.items()}
        answer = simulator(point)
        if "error" in answer:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            reports[trial.number] = answer
            study.tell(trial, objectives(answer))
    return study, reports


def check(qnnsim, point, answer):
    """Compiles and runs one point by itself; returns whether every figure is the same."""
    with tempfile.TemporaryDirectory() as directory:
        program = pathlib.Path(directory) / MODEL.with_suffix(".bin").name
        settings = [word for key, value in point.items() for word in ("--set", f"{key}={value}")]
        subprocess.run(
            [qnnsim, "compile", MODEL, OFFSET, "-o", program, *settings], check=True, stdout=subprocess.DEVNULL
        )
        run = [qnnsim, "run", program, "--input", IMAGE, "--format", "json"]
        report = json.loads(subprocess.run(run, check=True, stdout=subprocess.PIPE).stdout)
    return report == {key: value for key, value in answer.items() if key not in ("index", "point")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qnnsim", help="the binary (default: QNNSIM, the path, or cargo's target folder)")
    parser.add_argument("--trials", type=int, default=240, help="points to try (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the search (default: %(default)s)")
    args = parser.parse_args()
    qnnsim = find_qnnsim(args.qnnsim)
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    simulator = Simulator(qnnsim)
    study, reports = search(simulator, args.trials, args.seed)
    if code := simulator.close():
        sys.exit(f"qnnsim ended with exit code {code}")
    if not reports:
        sys.exit("none of the points has room for the network; try more")

    # NSGA-II may try a point again.
    front = {tuple(trial.params.values()): trial for trial in study.best_trials}
    front = sorted(front.values(), key=lambda trial: trial.values)
    print(f"{len(reports)} of {args.trials} points fit; {len(front)} of them are on the front:\n")
    print(f"{'cycles':>8} {'energy':>12} {'memory':>10}  point")
    for trial in front:
        cycles, energy_nj, memory_bytes = trial.values
        point = " ".join(f"{key}={value}" for key, value in trial.params.items())
        print(f"{cycles:>8,.0f} {energy_nj:>9,.1f} nJ {memory_bytes / 1024:>6,.1f} KiB  {point}")

    best = [min(front, key=lambda trial: trial.values[i]) for i in range(len(OBJECTIVES))]
    for name, trial in zip(OBJECTIVES, best):
        if not check(qnnsim, trial.params, reports[trial.number]):
            sys.exit(f"compiled and run by itself, the point of the least {name} differs")
    print(f"\nthe points of the least {', '.join(OBJECTIVES)}, compiled and run each by itself, give the same figures")


if __name__ == "__main__":
    main()
