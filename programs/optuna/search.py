"""Searches hardware points for few cycles, little energy and little memory at once, with Optuna.

The network is imported once; each point is compiled and simulated in this process, and NSGA-II
chooses the next one by what came of those before. At the end the best points are found once more by
a sweep, which counts what a point takes without its values, and must give the same figures.

    python3 -m venv venv
    venv/bin/pip install ./python -r programs/optuna/requirements.txt
    venv/bin/python programs/optuna/search.py [--trials N]
"""

import argparse
import pathlib
import sys

import optuna
import qnnsim

PROGRAMS = pathlib.Path(__file__).resolve().parent.parent
MODEL = PROGRAMS / "tcv_w1a1.onnx"
# TCV was trained on pixel - 128.
PIXEL_OFFSET = -128

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


def objectives(program):
    """What a program says of OBJECTIVES: one warm image, and all memories of the machine."""
    profile = program.profile()
    memory_bytes = sum(memory["bytes"] for memory in profile.to_dict()["memories"])
    return [profile.cycles.warm, profile.energy_pj.warm / 1000, memory_bytes]


def search(model, trials, seed):
    """Asks Optuna for points and tells it what they take; one that has no figures has failed."""
    study = optuna.create_study(
        directions=["minimize"] * len(OBJECTIVES),
        sampler=optuna.samplers.NSGAIISampler(population_size=24, seed=seed),
    )
    fit = 0
    for _ in range(trials):
        trial = study.ask()
        point = {key: trial.suggest_categorical(key, values) for key, values in SPACE.items()}
        try:
            study.tell(trial, objectives(qnnsim.compile(model, hw=point)))
            fit += 1
        except (qnnsim.DoesNotFit, qnnsim.InvalidHardware):
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
    return study, fit


def check(model, trial):
    """Whether a sweep of the one point has the same figures."""
    (row,) = qnnsim.sweep(model, {}, hw=trial.params, minimize=["cycles"]).to_dict()
    return trial.values[:2] == [row["cycles"], row["energy_pj"] / 1000]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=240, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="of the search (default: %(default)s)")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    model = qnnsim.compile(MODEL, pixel_offset=PIXEL_OFFSET).model
    study, fit = search(model, args.trials, args.seed)
    if not fit:
        sys.exit("none of the points has room for the network; try more")

    # NSGA-II may try a point again.
    front = {tuple(trial.params.values()): trial for trial in study.best_trials}
    front = sorted(front.values(), key=lambda trial: trial.values)
    print(f"{fit} of {args.trials} points fit; {len(front)} of them are on the front:\n")
    print(f"{'cycles':>8} {'energy':>12} {'memory':>10}  point")
    for trial in front:
        cycles, energy_nj, memory_bytes = trial.values
        point = " ".join(f"{key}={value}" for key, value in trial.params.items())
        print(f"{cycles:>8,.0f} {energy_nj:>9,.1f} nJ {memory_bytes / 1024:>6,.1f} KiB  {point}")

    best = [min(front, key=lambda trial: trial.values[i]) for i in range(len(OBJECTIVES))]
    for name, trial in zip(OBJECTIVES, best):
        if not check(model, trial):
            sys.exit(f"swept by itself, the point of the least {name} differs")
    print(f"\na sweep of the points of the least {', '.join(OBJECTIVES)} gives the same figures")


if __name__ == "__main__":
    main()
