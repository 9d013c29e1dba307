"""The same work through qnnsim and through other tools, each as a process: CPU seconds, memory, ratios.

    python3 tests/peers/peers.py target/release/qnnsim --mnist DIR [--before QNNSIM] [--runs N] [--only TEXT]

DIR holds t10k-images-idx3-ubyte.gz. Each tool gets an environment of its own with pinned versions,
kept in --cache; what cannot be installed is said and skipped. Runs are made in turn and the median
is taken, so that the machine's speed of the moment counts for all of them alike.
"""

import argparse
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import venv

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
IMAGES = 10_000
# Brevitas simulates quantizers in floating point: a part of the images tells its speed.
BREVITAS_IMAGES = 1_000
YARDSTICK = "onnxruntime float32"
LEVELS = {"avx512_vpopcntdq": "AVX-512 with VPOPCNTDQ and VNNI", "avx2": "AVX2"}


class Row:
    """A tool's command, what it gives, and the images that it computes."""

    def __init__(self, name, gives, command, images=IMAGES, environment=None):
        self.name, self.gives, self.images = name, gives, images
        self.command, self.environment = [str(part) for part in command], environment or {}
        self.cpu_s, self.peak_mb, self.said = [], 0, ""

    def run(self):
        """One run: CPU seconds and peak memory of the process and those it waited for."""
        with tempfile.TemporaryFile() as out:
            environment = {**os.environ, **self.environment}
            process = subprocess.Popen(self.command, stdout=out, stderr=out, env=environment)
            _, status, usage = os.wait4(process.pid, 0)
            out.seek(0)
            self.said = out.read().decode(errors="replace")
        if status != 0:
            raise RuntimeError(self.said.strip().splitlines()[-1] if self.said.strip() else status)
        self.cpu_s.append(usage.ru_utime + usage.ru_stime)
        self.peak_mb = max(self.peak_mb, usage.ru_maxrss / 1024)

    def of_all_images(self):
        return statistics.median(self.cpu_s) * IMAGES / self.images if self.images else None


def python_of(cache, name):
    """An environment's Python, made when first asked for; None if it cannot be installed."""
    folder = cache / name
    python, ready = folder / "bin/python", folder / "ready"
    requirements = HERE / f"requirements-{name}.txt"
    if ready.exists() and ready.read_text() == requirements.read_text():
        return python
    venv.create(folder, with_pip=True, clear=True)
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    done = subprocess.run([*install, "-r", requirements], capture_output=True, text=True)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["pip gives no reason"]
        print(f"skipped: {name} cannot be installed: {lines[-1]}")
        return None
    ready.write_text(requirements.read_text())
    return python


def narrow_programs(python, qnnsim, folder):
    """TCV with the trained weights in 2 and 4 bits: no longer a good classifier, but the same work."""
    for bits in (2, 4):
        model, program = folder / f"tcv_w{bits}a{bits}.onnx", folder / f"tcv_w{bits}a{bits}.bin"
        trained = ROOT / "programs/tcv_w8a8.onnx"
        subprocess.run([python, HERE / "models.py", str(bits), trained, model], check=True)
        compiled = [qnnsim, "compile", model, "--pixel-offset", "-128", "-o", program]
        subprocess.run(compiled, check=True, capture_output=True)


def qnnsim_rows(qnnsim, suffix, images, folder, isas):
    """10,000 images through one binary, for each precision and instruction set."""
    rows = []
    for bits in ("w1a1", "w2a2", "w4a4", "w8a8"):
        program = ROOT / f"programs/tcv_{bits}.bin"
        if not program.exists():
            program = folder / f"tcv_{bits}.bin"
        if program.exists():
            for isa in isas:
                name = f"qnnsim {bits.upper()}{suffix}" + ("" if isa == "best" else f", {isa}")
                command = [qnnsim, "eval", program, "--images", images]
                gives = "values, cycles, energy"
                rows.append(Row(name, gives, command, environment={"QNNSIM_ISA": isa}))
    return rows


def onnxruntime_rows(python, images, folder):
    """The same topology with the trained weights, in float32 and with 8-bit QDQ."""
    make = HERE / "models.py"
    float32, int8 = folder / "float32.onnx", folder / "int8.onnx"
    trained = ROOT / "programs/tcv_w8a8.onnx"
    subprocess.run([python, make, "float32", trained, float32], check=True)
    quantized = [python, make, "int8", float32, int8, "--images", images]
    subprocess.run(quantized, check=True, capture_output=True)
    run = [python, HERE / "run_onnxruntime.py"]
    return [
        Row(YARDSTICK, "values", [*run, float32, images, 16]),
        Row("onnxruntime int8 QDQ", "values", [*run, int8, images, 16]),
    ]


def rows_of(args, folder):
    images = args.mnist / "t10k-images-idx3-ubyte.gz"

    def python_for(name):
        return None if name in args.without else python_of(args.cache, name)

    onnxruntime = python_for("onnxruntime")
    if onnxruntime:
        narrow_programs(onnxruntime, args.qnnsim, folder)
    rows = qnnsim_rows(args.qnnsim, "", images, folder, ["best", "avx2"])
    if args.before:
        rows += qnnsim_rows(args.before, " before", images, folder, ["best"])
    rows.append(
        Row("qnnsim run W1A1", "one image: values, cycles, energy",
            [args.qnnsim, "run", ROOT / "programs/tcv_w1a1.bin"], images=0)
    )
    program = ROOT / "programs/tcv_w8a8.bin"
    rows.append(
        Row("RTL in Verilator, W8A8", "two images: values, cycles, every access compared",
            [args.qnnsim, "cosim", program], images=0)
    )

    if onnxruntime:
        rows += onnxruntime_rows(onnxruntime, images, folder)
    if python := python_for("brevitas"):
        for bits in (1, 8):
            command = [python, HERE / "run_brevitas.py", bits, images, BREVITAS_IMAGES]
            rows.append(Row(f"Brevitas W{bits}A{bits}", "values", command, BREVITAS_IMAGES))
    if python := python_for("scalesim"):
        command = [python, HERE / "run_scalesim.py", folder]
        rows.append(Row("SCALE-Sim 16x16", "one image: cycles", command, images=0))
    if python := python_for("zigzag"):
        command = [python, HERE / "run_zigzag.py", folder / "float32.onnx", folder]
        rows.append(Row("ZigZag 32x32", "one image: cycles, energy", command, images=0))
    return [row for row in rows if args.only in row.name or row.name == YARDSTICK]


def processor():
    text = pathlib.Path("/proc/cpuinfo").read_text() if sys.platform == "linux" else ""
    model = re.search(r"model name\s*: (.*)", text)
    level = next((name for flag, name in LEVELS.items() if flag in text), platform.machine())
    return f"{model[1] if model else platform.processor()}, {level}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("qnnsim", type=pathlib.Path)
    parser.add_argument("--mnist", type=pathlib.Path, required=True)
    parser.add_argument("--before", type=pathlib.Path, help="another qnnsim to compare with")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--without", nargs="*", default=[], help="tools that are left out")
    cache = pathlib.Path(tempfile.gettempdir()) / "qnnsim-peers"
    parser.add_argument("--cache", type=pathlib.Path, default=cache)
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        rows = rows_of(args, folder)
        for turn in range(args.runs):
            for row in list(rows):
                started = time.time()
                try:
                    row.run()
                except RuntimeError as error:
                    print(f"skipped: {row.name}: {error}")
                    rows.remove(row)
                print(f"{turn + 1}: {row.name}, {time.time() - started:.1f} s", file=sys.stderr)
    yardstick = next((row.of_all_images() for row in rows if row.name == YARDSTICK), None)
    print(f"{processor()}; median of {args.runs} runs, CPU seconds of the whole process\n")
    print("| tool | gives | CPU s | ratio | peak MB |\n|---|---|---:|---:|---:|")
    for row in rows:
        seconds = row.of_all_images()
        ratio = f"{seconds / yardstick:.2f}" if seconds and yardstick else ""
        shown = statistics.median(row.cpu_s) if seconds is None else seconds
        print(f"| {row.name} | {row.gives} | {shown:.3g} | {ratio} | {row.peak_mb:.0f} |")


if __name__ == "__main__":
    main()
