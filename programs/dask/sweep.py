"""Spreads a sweep over a cluster with Dask: each task takes a part of the space in its process.

The cluster here is one of local processes; give `Client` the address of a scheduler and the same
tasks run on many machines. The joined result must be that of the sweep in one process.

    python3 -m venv venv
    venv/bin/pip install ./python -r programs/dask/requirements.txt
    venv/bin/python programs/dask/sweep.py [--parts N]

Where a cluster starts the same command many times and tasks share a folder, as job arrays do, the
command line needs no Python, and goes on where it was interrupted:

    qnnsim sweep programs/sweep.ron -o part$TASK --shard $TASK/6 --exhaustive
    qnnsim sweep merge part* -o joined
"""

import argparse
import pathlib
import sys

import pandas
import qnnsim
from dask.distributed import Client, LocalCluster, as_completed

MODEL = pathlib.Path(__file__).resolve().parent.parent / "tcv_w1a1.onnx"
# TCV was trained on pixel - 128.
PIXEL_OFFSET = -128

AXES = {
    "mac.rows": [4, 8, 16, 32],
    "mac.cols": [8, 16, 32, 64],
    "mac.lanes": [32, 64, 128],
    "acc.banks": [2, 3, 4],
}
MINIMIZE = ["energy_pj", "cycles", "lut"]


def sweep(model, shard=(1, 1)):
    """The rows of a part of the space, I of N."""
    program = qnnsim.compile(model, pixel_offset=PIXEL_OFFSET)
    return qnnsim.sweep({MODEL.stem: program}, AXES, minimize=MINIMIZE, shard=shard).points


def front(points):
    """The points that no other dominates: as good in all objectives and better in one."""
    costs = points[MINIMIZE].to_numpy(float)
    better = (costs[:, None] <= costs).all(2) & (costs[:, None] < costs).any(2)
    return points[~better.any(0)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", type=int, default=6, help="tasks (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    args = parser.parse_args()

    model = MODEL.read_bytes()
    with (
        LocalCluster(
            n_workers=args.workers, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        shards = [(part, args.parts) for part in range(1, args.parts + 1)]
        tasks = [client.submit(sweep, model, shard) for shard in shards]
        for count, task in enumerate(as_completed(tasks), 1):
            print(f"{len(task.result())} points, {count} of {args.parts} parts", flush=True)
        parts = client.gather(tasks)
    joined = pandas.concat(parts).sort_values("index", ignore_index=True)
    whole = sweep(model)
    # Whether a point is on the front of its part says nothing of the whole.
    figures = [name for name in whole.columns if name != "pareto"]
    if not joined[figures].equals(whole[figures]):
        sys.exit("the joined parts differ from the whole sweep")
    best = front(joined[joined.status == "ok"]).sort_values("cycles")
    if set(best["index"]) != set(whole[whole.pareto == True]["index"]):  # noqa: E712
        sys.exit("the front of the joined parts differs from that of the whole sweep")

    print(
        f"\n{len(joined)} points in {args.parts} parts, joined the same as in one process;", end=""
    )
    print(f" {len(best)} are on the front:\n")
    print(f"{'cycles':>8} {'energy':>12} {'LUT':>9}  array")
    for row in best.to_dict("records"):
        array = "x".join(str(row[key]) for key in ("mac.rows", "mac.cols", "mac.lanes"))
        energy = f"{row['energy_pj'] / 1000:,.1f} nJ"
        print(f"{row['cycles']:>8,.0f} {energy:>12} {row['lut']:>9,.0f}  {array}")


if __name__ == "__main__":
    main()
