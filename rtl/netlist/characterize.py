#!/usr/bin/env python3
"""Times machines of a grid as netlists of library cells, and counts what their programs cost.

    python3 rtl/netlist/characterize.py --liberty sky130hd_tt.lib.gz paths
    python3 rtl/netlist/characterize.py --liberty sky130hd_tt.lib.gz energy
    python3 rtl/netlist/characterize.py --check

`paths` writes `sky130_paths.csv`: the longest path that ends in each unit of each machine, its
cells, flip-flops and leakage. `energy` writes `sky130_energy.csv`: what each unit took in each
layer of some programs, with the events that the simulator counts there. Machines that are in a
table already, made of the same sources, are kept. It needs yosys and g++; `energy` runs programs
in the co-simulation, and needs cargo and Verilator as well.
"""

import argparse
import csv
import hashlib
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import power
from library import Library
from netlist import DEFAULTS, RTL, UNITS, Machine, Synthesis, code, sources

HERE = pathlib.Path(__file__).resolve().parent
ROOT = RTL.parent
CASES = ROOT / "tests/data/cases"
PROGRAMS = ROOT / "programs"


def point(rows, cols, lanes, **others):
    return DEFAULTS | {"MAC_ROWS": rows, "MAC_COLS": cols, "MAC_LANES": lanes} | others


# Machines, and whether they are for the fit or kept from it.
MACHINES = [
    (point(4, 4, 32), "fit"),
    (point(2, 2, 64), "fit"),
    (point(3, 5, 24), "check"),
    (point(8, 4, 16, MAC_TAPS=32), "fit"),
    (point(5, 6, 16), "check"),
    (point(1, 4, 16, THR_COLS=4), "fit"),
    (point(16, 2, 32, MAC_TAPS=32), "fit"),
    (point(2, 8, 128, THR_COLS=4, ACC_BANKS=4), "fit"),
    (point(6, 4, 64, THR_COLS=1), "fit"),
    # The default point, with its buffers.
    (point(16, 16, 64, MAC_TAPS=32, WGT_WORDS=2048, THR_COLS=8, THR_WORDS=512, LOAD_WIDTH=4,
           LOAD_BUFFERS=8, QUEUE_DEPTH=16, FETCH_WORDS=16, DRAM_BURST=16), "check"),
]

# Programs run on the first of them.
RUN = 6
SMALL = ["06_bin_one_pad", "08_nhwc", "16_q_pool_bn_q", "20_dyn_mul", "39_rgb", "37_cat_max"]


def settings(parameters):
    """A machine's parameters as arguments of qnnsim."""
    keys = [(name.lower().replace("_", ".", 1), value) for name, value in parameters.items()]
    return [word for key, value in keys for word in ("--set", f"{key}={value}")]


def named(parameters):
    return " ".join(f"{name}={value}" for name, value in parameters.items())


def digest():
    """Of all sources that a machine depends on."""
    hasher = hashlib.sha256()
    for name in sources("machine"):
        hasher.update(" ".join(code(name.removesuffix(".sv")).split()).encode())
    return hasher.hexdigest()[:12]


class Rows:
    """A table that is written again with each row."""

    def __init__(self, path, head, made_by):
        self.path, self.head, self.made_by, self.rows = path, head, made_by, []
        lines = path.read_text().splitlines() if path.exists() else []
        of_table = csv.DictReader(line for line in lines if not line.startswith("#"))
        if lines and lines[0] == made_by:
            self.rows = [row for row in of_table if row["sources"] == digest()]

    def has(self, **wanted):
        return any(all(row[k] == v for k, v in wanted.items()) for row in self.rows)

    def add(self, rows):
        self.rows += rows
        with self.path.open("w", newline="") as file:
            print(self.made_by, file=file)
            table = csv.DictWriter(file, self.head, lineterminator="\n")
            table.writeheader()
            table.writerows(self.rows)


def paths(synthesis, table):
    """The longest path into each unit, and what each unit is made of."""
    for parameters, use in MACHINES:
        name = named(parameters)
        if table.has(parameters=name):
            continue
        machine = Machine(synthesis, parameters)
        machine.time()
        found = machine.critical_paths()
        rows = []
        for unit in [u for u in UNITS + ["row_sum", "memories", "dram"]]:
            inside = [i.cell for i in machine.instances if i.unit == unit]
            if not inside and unit not in found:
                continue
            total, gates, through = found.get(unit, (0.0, 0, []))
            rows.append({
                "parameters": name, "use": use, "unit": unit, "path_ns": f"{total:.3f}",
                "gates": gates, "through": " ".join(through), "cells": len(inside),
                "flip_flops": sum(cell.flip_flop for cell in inside),
                "area_um2": round(sum(cell.area for cell in inside)),
                "leakage_nw": f"{sum(cell.leakage_nw for cell in inside):.3f}",
                "sources": digest()})
        table.add(rows)
        longest = max(rows, key=lambda row: float(row["path_ns"]))
        print(f"{name}: {longest['path_ns']} ns into {longest['unit']}", flush=True)


def bench(model, parameters, folder, cycles):
    """Runs a model in the co-simulation: the pins' values, and the simulator's events."""
    qnnsim, operands = ROOT / "target/debug/qnnsim", ROOT / "target/debug/examples/operands"
    program = folder / "program.bin"
    done = subprocess.run([qnnsim, "compile", model, *settings(parameters), "-o", program],
                          capture_output=True, text=True)
    if done.returncode != 0:
        return None, done.stderr.strip().splitlines()[0]
    pins = folder / "pins"
    done = subprocess.run([operands, program, str(cycles or 1 << 26)], capture_output=True,
                          text=True, env={**os.environ, "QNNSIM_PINS": str(pins)})
    if done.returncode != 0:
        raise SystemExit(f"{model}: {done.stderr.strip()}")
    return pins, json.loads(done.stdout)


def energy(synthesis, table):
    """What each unit takes in each layer."""
    for parameters, use in MACHINES[:RUN]:
        name = named(parameters)
        machine = None
        for model in SMALL:
            if table.has(parameters=name, program=model):
                continue
            with tempfile.TemporaryDirectory() as folder:
                folder = pathlib.Path(folder)
                pins, counted = bench(CASES / f"{model}.onnx", parameters, folder, 0)
                if pins is None:
                    print(f"{name} {model}: {counted}", flush=True)
                    continue
                if machine is None:
                    machine = Machine(synthesis, parameters)
                    machine.time()
                rows = measure(machine, power.Pins(pins), counted, synthesis.folder)
            for row in rows:
                row |= {"parameters": name, "use": use, "program": model, "sources": digest()}
            table.add(rows)
            print(f"{name} {model}: {len(rows)} rows", flush=True)


# An element alone, on operands that are drawn: lanes, part of ones in the words of activations and
# of weights, whether bytes are taken; `masked` has a row that is not in use, `still` no step.
DENSITIES = [(0.5, 0.5), (0.25, 0.5), (0.02, 0.5), (0.25, 0.25)]
DRAWN = [(f"{'bytes' if byte else 'bits'} {a} {w}", lanes, a, w, byte)
         for lanes in (16, 32, 64, 128) for a, w in DENSITIES for byte in (False, True)]
DRAWN += [("masked", 64, 0.0, 0.5, False), ("still", 64, 0.0, 0.0, False)]
# Words of a step.
STEP = 9
DRAWN_CYCLES = 900


def drawn(synthesis, table):
    """Rows of an element alone."""
    for name, lanes, act, wgt, byte in DRAWN:
        parameters = point(1, 4, lanes)
        if table.has(parameters=named(parameters), program=name):
            continue
        machine = Machine(synthesis, parameters, "element")
        machine.time()
        draw = random.Random(f"{name} {lanes}")
        word = lambda part: sum((draw.random() < part) << i for i in range(lanes))
        rows, used = [], name != "still"
        for cycle in range(DRAWN_CYCLES + 1):
            at = cycle % STEP
            last = used and at == STEP - 1
            rows.append({
                "a": word(act), "w": word(wgt), "byte_mode": int(byte), "byte_signed": 0,
                "valid": int(used), "start": int(used and at == 0), "shift": 0, "negate": 0,
                "write": int(last), "add": 0, "bank": cycle // STEP % 2,
                "drain": int(used and at == 4), "drain_bank": (cycle // STEP + 1) % 2})
        window, = power.run(machine, power.Values(rows), [1, DRAWN_CYCLES], synthesis.folder)
        cells, wires, edges = window.energy["element"]
        steps = DRAWN_CYCLES // STEP if used else 0
        count = DRAWN_CYCLES if used else 0
        table.add([{
            "parameters": named(parameters), "use": "fit", "program": name, "image": "drawn",
            "unit": "element", "cells_pj": f"{cells:.1f}", "wires_pj": f"{wires:.1f}",
            "edges": edges, "cycles": DRAWN_CYCLES, "sources": digest(),
            "flip_flops": sum(i.cell.flip_flop for i in machine.instances),
            **dict.fromkeys(event_names(), 0), "element_cycles": count, "array_cycles": count,
            "byte_element_cycles": count if byte else 0, "accumulator_writes": steps,
            "accumulator_reads": steps, "act_density": act, "wgt_density": wgt}])
        print(f"element of {lanes} lanes, {name}: {(cells + wires) / DRAWN_CYCLES:.3f} pJ a cycle",
              flush=True)


def measure(machine, pins, counted, folder):
    """Rows of a program: images, cold and warm, unit by unit."""
    boundaries, which = [], []
    for start, image in zip(pins.starts, ("cold", "warm")):
        end = start + counted[image]["cycles"]
        boundaries += [start, min(end, len(pins.rows) - 1)]
        which += [image, None]
    rows = []
    flip_flops = {}
    for i in machine.instances:
        flip_flops[i.unit] = flip_flops.get(i.unit, 0) + i.cell.flip_flop
    for image, window in zip(which, power.run(machine, pins, boundaries, folder)):
        if image is None:
            continue
        total = {}
        for layer in counted[image]["layers"]:
            for event, count in layer.items():
                total[event] = total.get(event, 0) + count
        act, wgt = window.reads.get("g_act", [0, 0, 0]), window.reads.get("g_wgt", [0, 0, 0])
        bits = machine.point["MAC_LANES"]
        common = {"image": image, "cycles": counted[image]["cycles"], **total,
                  "act_density": density(act, bits), "wgt_density": density(wgt, bits)}
        for unit, (cells, wires, edges) in window.energy.items():
            rows.append({**common, "unit": unit, "flip_flops": flip_flops.get(unit, 0),
                         "cells_pj": f"{cells:.1f}", "wires_pj": f"{wires:.1f}", "edges": edges})
    return rows


def density(reads, bits):
    """Part of the bits read that are ones."""
    return f"{reads[1] / (reads[0] * bits):.4f}" if reads[0] else "0"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--liberty", help="the cell library, plain or gzip")
    parser.add_argument("--check", action="store_true",
                        help="run nothing, tell whether the tables are those of these sources")
    parser.add_argument("--folder", type=pathlib.Path, help="where netlists of units are kept")
    parser.add_argument("what", nargs="?", choices=["paths", "energy"])
    args = parser.parse_args()
    if args.check:
        sys.exit(check())
    if not args.liberty or not args.what:
        parser.error("a library and a table are needed, or --check")
    library = Library(args.liberty)
    version = subprocess.run(["yosys", "-V"], capture_output=True, text=True, check=True).stdout
    made_by = (f"# Made by: python3 rtl/netlist/characterize.py {args.what}, with "
               f"{version.split(' (')[0].strip()} and {library.name}")
    kept = args.folder or pathlib.Path(tempfile.mkdtemp())
    synthesis = Synthesis(library, kept)
    if args.what == "paths":
        head = ["parameters", "use", "unit", "path_ns", "gates", "through", "cells", "flip_flops",
                "area_um2", "leakage_nw", "sources"]
        paths(synthesis, Rows(HERE / "sky130_paths.csv", head, made_by))
        return
    names = event_names()
    head = ["parameters", "use", "program", "image", "unit", "cells_pj", "wires_pj", "edges",
            "flip_flops", "cycles", *names, "act_density", "wgt_density", "sources"]
    table = Rows(HERE / "sky130_energy.csv", head, made_by)
    drawn(synthesis, table)
    energy(synthesis, table)


def check():
    """Tells what the tables lack, or have of other sources; 1 if there is anything."""
    wanted = {"sky130_paths.csv": MACHINES, "sky130_energy.csv": MACHINES[:RUN]}
    found = 0
    for file, machines in wanted.items():
        lines = (HERE / file).read_text().splitlines()
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
        for parameters, _ in machines:
            of_machine = [row for row in rows if row["parameters"] == named(parameters)]
            if not of_machine or any(row["sources"] != digest() for row in of_machine):
                print(f"stale or missing in {file}: {named(parameters)}")
                found = 1
    return found


def event_names():
    """Names of the simulator's events, in its order."""
    text = (ROOT / "simulator/src/energy.rs").read_text()
    inside = text[text.index("\nevents! {"):]
    lines = inside[:inside.index("\n}")].splitlines()
    return [line.strip(" ,") for line in lines if line.startswith("    ") and "///" not in line]


if __name__ == "__main__":
    main()
