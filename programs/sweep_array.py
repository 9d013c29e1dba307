"""Sweeps the size of the array: cycles, energy and class of one image on each hardware point.

An example of driving the command line and reading its JSON.

    python3 programs/sweep_array.py [--qnnsim PATH]
"""

import argparse
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
MODEL = HERE / "tcv_w1a1.onnx"
IMAGE = HERE / "digits" / "digit_7.png"

# (rows, columns, lanes of each element); much smaller arrays need more words a memory bank than the default.
POINTS = [(4, 4, 32), (8, 8, 32), (8, 8, 64), (16, 16, 64), (32, 16, 64), (32, 32, 64), (32, 32, 128)]


def run(qnnsim, rows, cols, lanes, directory):
    """Compiles the model for one array, runs the image and returns the report."""
    program = directory / f"{rows}x{cols}x{lanes}.bin"
    array = [f"mac.rows={rows}", f"mac.cols={cols}", f"mac.lanes={lanes}"]
    settings = [word for setting in array for word in ("--set", setting)]
    compiling = [*qnnsim, "compile", MODEL, "-o", program, "--pixel-offset=-128", *settings]
    running = [*qnnsim, "run", program, "--input", IMAGE, "--format", "json"]
    subprocess.run(compiling, cwd=HERE.parent, check=True, stdout=subprocess.DEVNULL)
    return json.loads(subprocess.run(running, cwd=HERE.parent, check=True, stdout=subprocess.PIPE).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--qnnsim",
        default="cargo run --release -q --",
        help="command to call, in the project's directory (default: %(default)s)",
    )
    qnnsim = shlex.split(parser.parse_args().qnnsim)

    print(f"{'array':>10} {'cycles warm':>12} {'energy warm':>14}  class")
    failures = 0
    with tempfile.TemporaryDirectory() as directory:
        for point in POINTS:
            name = "x".join(map(str, point))
            try:
                report = run(qnnsim, *point, pathlib.Path(directory))
            except subprocess.CalledProcessError as error:
                # qnnsim has said why: most often a memory that is too small for the model.
                print(f"{name:>10} {'-':>12} {'-':>14}  exit code {error.returncode}")
                failures += 1
                continue
            energy_nj = report["energy_pj"]["warm"] / 1000
            print(f"{name:>10} {report['cycles']['warm']:>12,} {energy_nj:>11,.1f} nJ  {report['class']}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
