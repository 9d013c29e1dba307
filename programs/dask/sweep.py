"""Spreads a sweep over a cluster with Dask: each task runs one part of the space, and the parts are joined at the end.

The cluster here is one of local processes; give `Client` the address of a scheduler and the same tasks run on many
machines that share a folder. The joined result must be, byte for byte, that of the sweep in one process.

    python3 -m venv venv && venv/bin/pip install -r programs/dask/requirements.txt
    venv/bin/python programs/dask/sweep.py [--parts N] [--space SPACE.ron] [--qnnsim PATH]
"""

import argparse
import csv
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from dask.distributed import Client, LocalCluster, as_completed

PROGRAMS = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ["points.csv", "points.jsonl", "manifest.json"]


def find_qnnsim(path):
    """The binary: as given, or QNNSIM, or on the path, or what cargo built here."""
    target = PROGRAMS.parent / "target"
    choices = [path, os.environ.get("QNNSIM"), "qnnsim", target / "release" / "qnnsim", target / "debug" / "qnnsim"]
    found = next((found for choice in choices if choice and (found := shutil.which(choice))), None)
    if found is None:
        sys.exit("qnnsim is not on the path: give --qnnsim PATH or QNNSIM=PATH, or run `cargo build --release`")
    return os.path.abspath(found)


def sweep(qnnsim, *words):
    """Runs `qnnsim sweep`. What it says of a mistake goes with the exception."""
    done = subprocess.run([qnnsim, "sweep", *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)


def run_part(qnnsim, space, part, parts, folder):
    """A task: one part of the space, with one thread. Part 2 of 4 may say nothing of the filter to part 3, so all are exhaustive."""
    output = folder / f"part{part}"
    sweep(qnnsim, space, "-o", output, "--shard", f"{part}/{parts}", "--exhaustive", "--jobs", 1)
    return output


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qnnsim", help="the binary (default: QNNSIM, the path, or cargo's target folder)")
    parser.add_argument("--space", type=pathlib.Path, default=PROGRAMS / "sweep.ron", help="default: %(default)s")
    parser.add_argument("--parts", type=int, default=6, help="tasks (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes of the cluster (default: %(default)s)")
    args = parser.parse_args()
    qnnsim, space = find_qnnsim(args.qnnsim), args.space.resolve()

    with tempfile.TemporaryDirectory() as directory:
        folder = pathlib.Path(directory)
        with (
            LocalCluster(n_workers=args.workers, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            numbers = range(1, args.parts + 1)
            tasks = [client.submit(run_part, qnnsim, space, part, args.parts, folder) for part in numbers]
            for count, task in enumerate(as_completed(tasks), 1):
                print(f"{task.result().name} is done, {count} of {args.parts}", flush=True)
            outputs = client.gather(tasks)
        sweep(qnnsim, "merge", *outputs, "-o", folder / "joined")
        sweep(qnnsim, space, "-o", folder / "whole", "--exhaustive")
        for name in RESULTS:
            if (folder / "joined" / name).read_bytes() != (folder / "whole" / name).read_bytes():
                sys.exit(f"{name} of the joined parts differs from that of the whole sweep")
        rows = list(csv.DictReader((folder / "joined" / "points.csv").open(newline="")))

    front = [row for row in rows if row["pareto"] == "true"]
    front.sort(key=lambda row: int(row["cycles"]))
    print(f"\n{len(rows)} points in {args.parts} parts, joined the same as in one process; {len(front)} are on the front:\n")
    print(f"{'cycles':>8} {'energy':>12}  array")
    for row in front:
        array = "x".join(row[key] for key in ("mac.rows", "mac.cols", "mac.lanes"))
        print(f"{int(row['cycles']):>8,} {float(row['energy_pj']) / 1000:>9,.1f} nJ  {array}")


if __name__ == "__main__":
    main()
