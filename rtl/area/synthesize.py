#!/usr/bin/env python3
"""Synthesizes the machine's units with yosys over a grid of parameters and keeps the table `xc7.csv`.

Units that come many times, such as elements of the array, are synthesized once a size; `array` and `machine` without what is
in them. Rows that are in the table are kept as long as their sources and the passes are the same:

    python3 rtl/area/synthesize.py            # what is missing or stale
    python3 rtl/area/synthesize.py --check    # tells which rows are, exit code 1 if there are any
    python3 rtl/area/synthesize.py --only load,store --jobs 2

Columns: LUTs of logic and of memory or shift registers, flip-flops, CARRY4, RAMB18, RAMB36 and DSP48 of a 7-series part;
then, for an ASIC, gates of two inputs (the inverter counts as one), flip-flops, bits of memories, and 2:1 multiplexers of the
read ports of these memories, each bit of a port being one out of all words. Rows for `fit` make the model's coefficients,
those for `check` only tell how far off it is.
"""

import argparse
import concurrent.futures
import csv
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile

AREA = pathlib.Path(__file__).resolve().parent
RTL = AREA.parent
TABLE = AREA / "xc7.csv"
PACKAGES = ["isa_pkg.sv", "machine_pkg.sv"]
COLUMNS = ["lut", "lut_memory", "ff", "carry4", "ramb18", "ramb36", "dsp",
           "gates", "gate_ff", "memory_bits", "memory_muxes"]
HEAD = ["unit", "parameters", "use"] + COLUMNS + ["sources"]

# The sum of a row multiplies with ones.
ROW_SUM = """
module row_sum #(parameter MAC_LANES = 64, MAC_DEPTH = 4, ACC_BANKS = 2, localparam BANK = machine_pkg::index_bits(ACC_BANKS))
    (input clk, input [MAC_LANES-1:0] a, input byte_mode, byte_signed, valid, start, shift, negate, write, add,
     input [BANK-1:0] bank, input drain, input [BANK-1:0] drain_bank, output [31:0] drained);
  element #(.MAC_LANES(MAC_LANES), .MAC_DEPTH(MAC_DEPTH), .ACC_BANKS(ACC_BANKS), .GAPS(1'b1)) element
      (.clk, .a, .w({MAC_LANES{1'b1}}), .byte_mode, .byte_signed, .valid, .start, .shift, .negate, .write, .add, .bank,
       .drain, .drain_bank, .drained);
endmodule
"""
TOP = {"glue": "machine", "whole": "machine"}
# Of these only what is not in a module of its own.
HOLLOW = {"array", "glue"}
# Without gates: banks are macros on an ASIC, and a whole machine is a check of the sum of LUTs.
MACROS = {"scratchpad", "whole"}


def points(unit, names, fit, check):
    """Rows of a unit: values in the order of the names."""
    names = names.split()
    for use, rows in (("fit", fit), ("check", check)):
        for row in rows:
            assert len(row) == len(names), (unit, row)
            yield unit, " ".join(f"{n}={v}" for n, v in zip(names, row)), use


def grid():
    """All rows of the table, in order."""
    element = [(8, 4, 2), (16, 4, 2), (32, 4, 2), (64, 4, 2), (128, 4, 2), (256, 4, 2), (64, 1, 2), (64, 2, 2),
               (64, 4, 1), (64, 4, 4), (32, 4, 8), (64, 4, 16)]
    element_check = [(48, 4, 2), (24, 3, 2), (96, 4, 4), (16, 2, 16)]
    names = "MAC_LANES MAC_DEPTH ACC_BANKS"
    yield from points("element", names, element, element_check)
    yield from points("row_sum", names, element[2:6] + element[7:10], element_check[:2])
    yield from points("array", "MAC_ROWS MAC_COLS MAC_LANES THR_COLS", [
        (1, 4, 16, 2), (2, 4, 32, 2), (4, 4, 32, 2), (8, 8, 32, 4), (16, 8, 64, 4), (32, 2, 16, 1), (3, 5, 24, 2),
        (6, 4, 32, 4), (5, 3, 8, 1), (4, 16, 16, 4), (4, 16, 64, 16), (4, 16, 8, 2)],
        [(8, 4, 64, 2), (12, 6, 16, 3), (2, 12, 48, 4), (16, 16, 64, 8)])
    yield from points("threshold_unit", "THR_DEPTH", [(1,), (2,), (5,)], [(3,)])
    yield from points("threshold_column", "", [()], [])
    yield from points("max_pool_unit", "MAC_COLS MAC_LANES THR_COLS THR_BUFFERS", [
        (4, 32, 2, 2), (16, 64, 8, 2), (8, 8, 4, 2), (16, 16, 8, 2), (64, 64, 32, 2), (16, 64, 8, 1), (16, 64, 8, 4),
        (16, 64, 8, 8), (16, 64, 2, 2), (4, 128, 2, 2), (32, 16, 16, 2), (8, 256, 4, 2)],
        [(8, 32, 4, 2), (24, 48, 12, 4), (32, 64, 16, 2), (3, 24, 2, 2)])
    yield from points("sequencer", "QUEUE_DEPTH", [(1,), (2,), (4,), (16,), (64,), (128,), (256,)], [(8,), (32,), (192,)])
    yield from points("semaphores", "", [()], [])
    yield from points("front_end", "FETCH_WORDS DRAM_WIDTH", [
        (8, 8), (16, 8), (64, 8), (256, 8), (16, 1), (16, 16), (16, 32), (64, 32), (8, 64)],
        [(32, 8), (32, 4), (32, 16), (128, 8), (16, 64)])
    yield from points("mac", "MAC_ROWS MAC_COLS MAC_LANES MAC_TAPS ACC_BANKS", [
        (1, 4, 32, 32, 2), (2, 4, 32, 32, 2), (4, 4, 32, 32, 2), (8, 4, 32, 32, 2), (16, 4, 32, 32, 2),
        (32, 4, 32, 32, 2), (6, 4, 32, 32, 2), (4, 4, 32, 4, 2), (4, 4, 32, 16, 2), (4, 4, 32, 64, 2), (4, 32, 32, 32, 2),
        (4, 64, 64, 32, 16)],
        [(12, 8, 64, 32, 2), (3, 5, 24, 16, 2), (16, 16, 64, 32, 2), (8, 24, 32, 8, 4)])
    yield from points("thr", "MAC_ROWS MAC_COLS MAC_LANES THR_COLS THR_BUFFERS", [
        (1, 4, 32, 2, 2), (2, 4, 32, 2, 2), (4, 4, 32, 2, 2), (8, 4, 32, 2, 2), (16, 4, 32, 2, 2), (12, 6, 24, 3, 2),
        (3, 4, 32, 2, 2), (5, 5, 32, 3, 2), (7, 4, 32, 2, 2), (4, 4, 32, 2, 1), (4, 4, 32, 2, 16), (4, 32, 16, 16, 2),
        (4, 64, 64, 32, 2)],
        [(6, 6, 24, 3, 2), (16, 16, 64, 8, 2), (8, 16, 64, 16, 4)])
    yield from points("load", "MAC_ROWS MAC_COLS MAC_LANES LOAD_WIDTH LOAD_BUFFERS DRAM_WIDTH DRAM_BURST", [
        (4, 4, 32, 1, 8, 8, 16), (4, 4, 32, 2, 8, 8, 16), (4, 4, 32, 4, 8, 8, 16), (4, 4, 64, 4, 8, 8, 16),
        (4, 4, 128, 2, 8, 8, 16), (4, 4, 256, 1, 8, 8, 16), (4, 4, 32, 2, 1, 8, 16), (4, 4, 32, 2, 32, 8, 16),
        (4, 4, 32, 2, 8, 1, 16), (4, 4, 32, 2, 8, 4, 16), (4, 4, 32, 2, 8, 32, 16), (4, 4, 64, 1, 8, 64, 16),
        (16, 16, 32, 2, 8, 8, 16), (6, 6, 32, 2, 8, 8, 16), (4, 4, 32, 2, 4, 8, 64), (8, 8, 64, 8, 8, 8, 16),
        (3, 4, 32, 4, 8, 8, 16), (5, 4, 32, 1, 8, 8, 16), (4, 4, 48, 1, 8, 8, 16), (4, 4, 24, 4, 8, 8, 16)],
        [(16, 16, 64, 4, 8, 8, 16), (8, 8, 64, 2, 4, 16, 16), (3, 5, 24, 4, 8, 4, 16), (4, 4, 128, 4, 8, 16, 16)])
    yield from points("store", "MAC_ROWS MAC_LANES STORE_BUFFERS DRAM_WIDTH DRAM_BURST", [
        (4, 8, 2, 8, 16), (4, 32, 2, 8, 16), (4, 64, 2, 8, 16), (4, 128, 2, 8, 16), (4, 256, 2, 8, 16), (4, 32, 1, 8, 16),
        (4, 32, 8, 8, 16), (4, 64, 16, 8, 16), (4, 32, 2, 1, 16), (4, 64, 2, 4, 16), (4, 32, 2, 16, 16), (4, 8, 2, 32, 8),
        (16, 64, 2, 8, 16), (6, 32, 2, 8, 16), (3, 64, 2, 8, 16)],
        [(16, 64, 4, 8, 16), (8, 32, 4, 4, 16), (8, 64, 2, 16, 16), (5, 128, 2, 8, 16)])
    yield from points("glue", "MAC_ROWS MAC_COLS MAC_LANES THR_COLS LOAD_WIDTH", [
        (4, 4, 32, 2, 4), (1, 4, 32, 2, 4), (2, 4, 32, 2, 4), (8, 4, 32, 2, 4), (16, 4, 32, 2, 4), (32, 4, 16, 2, 4),
        (4, 16, 32, 2, 4), (4, 4, 8, 2, 4), (4, 4, 128, 2, 4), (4, 16, 32, 16, 4), (4, 4, 32, 2, 1), (4, 4, 32, 2, 2),
        (4, 4, 32, 2, 8), (2, 32, 8, 16, 4)],
        [(6, 6, 24, 3, 4), (8, 4, 64, 2, 2), (3, 10, 16, 5, 4), (16, 16, 64, 8, 4)])
    yield from points("scratchpad", "WIDTH WORDS", [
        (64, 32), (64, 64), (64, 128), (64, 256), (8, 512), (32, 512), (64, 512), (80, 512), (64, 1024), (80, 1024),
        (64, 2048), (8, 2048), (64, 4096), (32, 8192), (16, 16384), (64, 16384), (128, 512), (256, 2048), (24, 512),
        (16, 64), (16, 256), (80, 64), (80, 256), (512, 512)],
        [(48, 512), (96, 1024), (128, 2048), (16, 4096), (64, 8192), (40, 128), (32, 1024), (80, 2048), (64, 3072),
         (64, 600), (8, 65536), (8, 128), (8, 80), (16, 1), (24, 5)])
    yield from points("whole", "MAC_ROWS MAC_COLS MAC_LANES THR_COLS", [],
                      [(2, 3, 16, 2), (4, 4, 32, 2), (8, 8, 32, 4), (3, 5, 24, 2)])


def sources(top):
    """Files that make a module, packages first."""
    names = {path.stem for path in RTL.glob("*.sv")}
    found, left = set(), [{"row_sum": "element"}.get(top, top)]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += names & set(re.findall(r"\w+", code(f"{name}.sv"))) - found
    return PACKAGES + sorted(f"{name}.sv" for name in found if not name.endswith("_pkg"))


def code(name):
    """A source without its comments."""
    return re.sub(r"//.*|/\*.*?\*/", "", (RTL / name).read_text())


def script(unit, parameters, folder):
    """What yosys does for a row."""
    top = TOP.get(unit, unit)
    settings = "".join(f" -set {p.replace('=', ' ')}" for p in parameters.split())
    lines = ["read_verilog -sv " + " ".join(sources(top))]
    if top == "row_sum":
        lines.append(f"read_verilog -sv {folder}/row_sum.sv")
    if settings:
        lines.append(f"chparam{settings} {top}")
    lines += [f"hierarchy -check -top {top}", f"rename -top {top}"]
    if unit in HOLLOW:
        lines.append(f"blackbox * {top} %d")
    lines += ["design -save read",
              f"synth_xilinx -family xc7 -noiopad -noclkbuf -flatten -top {top}", f"tee -q -o {folder}/xc7 stat {top}"]
    if unit not in MACROS:
        lines += ["design -load read", f"synth -flatten -nordff -top {top} -run begin:fine", "memory -nomap", "opt_clean",
                  f"write_json {folder}/coarse", "techmap", "opt",
                  "abc -g AND,OR,XOR,NAND,NOR,XNOR,ANDNOT,ORNOT", "opt_clean", f"tee -q -o {folder}/gates stat {top}"]
    return "\n".join(lines)


def cells(path):
    """Types of cells and how many there are."""
    found = re.findall(r"^ +(\$?\w+) +(\d+)$", path.read_text(), re.M)
    return {name: int(count) for name, count in found}


def number(bits):
    return int(bits, 2) if isinstance(bits, str) else bits


def measure(unit, parameters):
    """Figures of a row."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "row_sum.sv").write_text(ROW_SUM)
        (folder / "script").write_text(script(unit, parameters, name))
        done = subprocess.run(["yosys", "-q", "-s", folder / "script"], cwd=RTL, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{unit} {parameters}: {done.stderr.strip()[-2000:]}")
        xc7 = cells(folder / "xc7")
        gates = cells(folder / "gates") if unit not in MACROS else {}
        coarse = json.loads((folder / "coarse").read_text()) if unit not in MACROS else {"modules": {}}

    def total(of, *patterns):
        return sum(count for cell, count in of.items() if any(re.fullmatch(p, cell) for p in patterns))

    # LUTs that a primitive of distributed memory takes.
    memory = {r"RAM(32|64)M": 4, r"RAM32X1D|RAM64X1D": 2, r"RAM128X1D": 4, r"RAM128X1S": 2, r"RAM256X1S": 4,
              r"RAM(32|64)X1S|SRL16E|SRLC32E": 1}
    unknown = [c for c in xc7 if re.match(r"RAM|SRL", c)
               and not any(re.fullmatch(p, c) for p in memory) and not c.startswith("RAMB")]
    assert not unknown, unknown
    bits = muxes = 0
    for module in coarse["modules"].values():
        for cell in module["cells"].values():
            if cell["type"] == "$mem_v2":
                width, size, reads = (number(cell["parameters"][k]) for k in ("WIDTH", "SIZE", "RD_PORTS"))
                # With the register behind a clocked read port.
                bits += width * (size + bin(number(cell["parameters"]["RD_CLK_ENABLE"])).count("1"))
                muxes += width * (size - 1) * reads
    return {
        "lut": total(xc7, r"LUT[1-6]|INV"),
        "lut_memory": sum(n * total(xc7, p) for p, n in memory.items()),
        "ff": total(xc7, r"FD[RSCP]E(_1)?"),
        "carry4": total(xc7, "CARRY4"),
        "ramb18": total(xc7, "RAMB18E1"),
        "ramb36": total(xc7, "RAMB36E1"),
        "dsp": total(xc7, "DSP48E1"),
        "gates": total(gates, r"\$_(AND|OR|XOR|NAND|NOR|XNOR|ANDNOT|ORNOT|NOT)_"),
        "gate_ff": total(gates, r"\$_S?DFFC?E?_\w+_"),
        "memory_bits": bits,
        "memory_muxes": muxes,
    }


def digest(unit, parameters):
    """Of all that a row depends on: its sources and the passes; the version stands above the table."""
    hasher = hashlib.sha256((script(unit, parameters, "") + (ROW_SUM if unit == "row_sum" else "")).encode())
    for name in sources(TOP.get(unit, unit)):
        hasher.update(" ".join(code(name).split()).encode())
    return hasher.hexdigest()[:12]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="rows at the same time (default: 1)")
    parser.add_argument("--only", default="", help="names of units, with commas between them")
    parser.add_argument("--check", action="store_true", help="synthesize nothing, tell what is stale or missing")
    args = parser.parse_args()

    rows = list(grid())
    kept = {}
    lines = TABLE.read_text().splitlines() if TABLE.exists() else []
    for row in csv.DictReader(line for line in lines if not line.startswith("#")):
        kept[row["unit"], row["parameters"]] = row
    stale = [(unit, parameters) for unit, parameters, _ in rows
             if kept.get((unit, parameters), {}).get("sources") != digest(unit, parameters)]
    if args.check:
        for unit, parameters in stale:
            print(f"stale or missing: {unit} {parameters}")
        sys.exit(1 if stale else 0)
    version = subprocess.run(["yosys", "-V"], capture_output=True, text=True, check=True).stdout.split(" (")[0].strip()
    of_version = f"# Made by: python3 rtl/area/synthesize.py, with {version}"
    if lines and lines[0] != of_version:
        sys.exit(f"the table says `{lines[0]}`, here is {version}: delete {TABLE.name} to make all of it anew")

    only = set(filter(None, args.only.split(",")))
    todo = [key for key in stale if not only or key[0] in only]

    def write():
        with TABLE.open("w", newline="") as file:
            print(of_version, file=file)
            table = csv.DictWriter(file, HEAD, lineterminator="\n")
            table.writeheader()
            for unit, parameters, use in rows:
                if (unit, parameters) in kept:
                    table.writerow(kept[unit, parameters] | {"use": use})

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        made = {pool.submit(measure, *key): key for key in todo}
        for count, future in enumerate(concurrent.futures.as_completed(made), 1):
            unit, parameters = key = made[future]
            figures = future.result()
            kept[key] = {"unit": unit, "parameters": parameters, "sources": digest(*key), **figures}
            write()
            print(f"{count}/{len(todo)} {unit} {parameters}: {figures}", flush=True)
    write()


if __name__ == "__main__":
    main()
