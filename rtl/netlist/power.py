"""Runs a machine's netlist on what went in and out of it in the co-simulation, and counts energy.

`edges.cpp` runs the netlist with a delay for each cell, so that glitches count. Each edge of a net
costs what the library says for the cell that drives it, and the charge of the pins and of the wire;
each flip-flop costs its clock in every cycle, whatever it holds.
"""

import pathlib
import subprocess

class Values:
    """Values of a unit's inputs, a dictionary a cycle, without anything to compare."""

    WATCHED = ()

    def __init__(self, rows):
        self.rows = rows

    @staticmethod
    def inputs(row):
        return row

    @staticmethod
    def outputs(_):
        return {}


# Of a bank.
BUSES = ("read_address", "write_address", "write_data", "read_data")

# Leaves of the clock tree: a buffer for so many flip-flops, and for so many buffers.
CLOCK_FAN_OUT = 16


class Pins:
    """What the bench wrote: inputs of every cycle, and what the outputs then were."""

    def __init__(self, path, cycles=None):
        self.rows = [line.split() for line in open(path)]
        if cycles:
            self.rows = self.rows[:cycles]
        # Images begin behind the cycle with `start`.
        flags = [int(row[0], 16) for row in self.rows]
        self.starts = [i + 1 for i, flag in enumerate(flags) if flag & 2]

    WATCHED = ("running", "req_valid", "fault", "req_address", "write_data", "write_strobe")
    FLAGS = ["rst", "start", "req_ready", "read_valid", "read_last", "write_valid", "write_last"]

    def inputs(self, row):
        flags = int(row[0], 16)
        values = {name: flags >> i & 1 for i, name in enumerate(self.FLAGS)}
        values["read_source"] = int(row[1], 16)
        values["read_data"] = int(row[2], 16)
        names = ["cold_dram", "cold_words", "warm_dram", "warm_words"]
        values |= {name: int(row[3 + i], 16) for i, name in enumerate(names)}
        return values

    def outputs(self, row):
        """Values of outputs, and which of their bits mean something."""
        if int(row[0], 16) & 1:
            return {}  # In reset.
        flags = int(row[7], 16)
        wanted = {"running": (flags & 1, 1), "req_valid": (flags >> 1 & 1, 1),
                  "fault": (flags >> 2 & 1, 1)}
        if flags >> 1 & 1:
            wanted["req_address"] = (int(row[8], 16), (1 << 33) - 1)
        if int(row[0], 16) >> 5 & 1:
            strobe = int(row[9], 16)
            mask = sum(0xff << 8 * i for i in range(len(row[10]) // 2) if strobe >> i & 1)
            wanted["write_data"] = (int(row[10], 16), mask)
            wanted["write_strobe"] = (strobe, (1 << len(row[10]) // 2) - 1)
        return wanted


def truth_table(cell):
    """The function of a cell: bit i is its value where input k is bit k of i."""
    code = compile(cell.function.replace("!", "~"), cell.name, "eval")
    bits = 0
    for i in range(1 << len(cell.inputs)):
        bits |= (eval(code, {}, {pin: i >> k & 1 for k, pin in enumerate(cell.inputs)}) & 1) << i
    return bits


def netlist(machine, pins, boundaries):
    """The netlist with all that `edges.cpp` needs to run it."""
    listed = lambda nets: f"{len(nets)} {' '.join(map(str, nets))}"
    delay = lambda instance: max(1, round(500 * sum(machine.delay_of(instance))))
    gates = [i for i in machine.instances if not i.cell.flip_flop]
    flip_flops = [i for i in machine.instances if i.cell.flip_flop]
    tables = {i.cell.name: truth_table(i.cell) for i in gates}
    lines = [str(len(machine.parent)), str(len(gates))]
    for i in gates:
        lines.append(f"{i.pins[i.cell.output]} {delay(i)} {tables[i.cell.name]} "
                     + listed([i.pins[pin] for pin in i.cell.inputs]))
    lines.append(str(len(flip_flops)))
    for i in flip_flops:
        lines.append(f"{i.pins[i.cell.output]} {delay(i)} {i.pins[i.cell.inputs[0]]}")
    lines.append(str(len(machine.macros)))
    for macro in machine.macros:
        at = macro.pins
        lines += [f"{at['read'][0]} {at['write'][0]}"] + \
            [listed(at[pin]) for pin in BUSES]
    lines.append(listed([net for nets in machine.inputs.values() for net in nets]))
    outputs = {name: machine.outputs[name] for name in pins.WATCHED}
    lines.append(listed([net for nets in outputs.values() for net in nets]))
    lines.append(listed(boundaries))
    lines.append(str(len(pins.rows)))
    for row in pins.rows:
        values, wanted = pins.inputs(row), pins.outputs(row)
        given = "".join(str(values[name] >> i & 1)
                        for name, nets in machine.inputs.items() for i in range(len(nets)))
        expected = ""
        for name, nets in outputs.items():
            value, mask = wanted.get(name, (0, 0))
            expected += "".join(str(value >> i & 1) if mask >> i & 1 else "-"
                                for i in range(len(nets)))
        lines.append(f"{given} {expected}")
    return "\n".join(lines) + "\n"


def prices(machine):
    """pJ of the edges of every net: `{net: (unit, rise, fall, wire)}`, wire for one edge."""
    half = 0.5 * machine.library.voltage ** 2
    flip_flop = machine.library.flip_flop
    data = flip_flop.inputs[0]
    found = {}
    for instance in machine.instances:
        cell, net = instance.cell, instance.pins[instance.cell.output]
        source = cell.clock if cell.flip_flop else None
        slews = [machine.SLEW_NS] if source else \
            [sum(machine.slew[instance.pins[p]]) / 2 for p in cell.inputs]
        slew = sum(slews) / len(slews)
        rise, fall = cell.energy_pj(cell.output, slew, machine.load(net))
        charge = half * machine.pin_pf.get(net, 0.0)
        found[net] = [instance.unit, rise + charge, fall + charge,
                      half * machine.wire_pf.get(net, 0.0)]
    for instance in machine.instances:
        if instance.cell.flip_flop:
            net = instance.pins[data]
            if net in found:
                for edge in range(2):
                    slew = machine.slew[net][edge]
                    found[net][1 + edge] += flip_flop.energy_pj(data, slew, 0.0)[edge]
    macros = {net for macro in machine.macros for net in macro.pins["read_data"]}
    outside = {net for nets in machine.inputs.values() for net in nets}
    for net in (macros | outside) - set(found):
        charge = half * machine.pin_pf.get(net, 0.0)
        found[net] = ["machine", charge, charge, half * machine.wire_pf.get(net, 0.0)]
    return found


def clock_pj(library):
    """Energy of a cycle of the clock at one flip-flop: inside of it, and of the tree before it."""
    flip_flop = library.flip_flop
    square = library.voltage ** 2
    inside = sum(flip_flop.energy_pj(flip_flop.clock, 0.05, 0.0))
    pin = flip_flop.capacitance[flip_flop.clock] * square
    buffer = library.cells[library.driver.replace("_1", "_8").replace("__buf", "__clkbuf")]
    wire = library.wire_um(CLOCK_FAN_OUT) * 0.2e-3
    load = CLOCK_FAN_OUT * flip_flop.capacitance[flip_flop.clock] + wire
    a_buffer = sum(buffer.energy_pj(buffer.output, 0.05, load)) \
        + (wire + buffer.capacitance[buffer.inputs[0]]) * square
    # A leaf for 16 flip-flops, a buffer for 16 leaves, and so on.
    return inside + pin, a_buffer / (CLOCK_FAN_OUT - 1)


def build(folder):
    """Compiles `edges.cpp`."""
    program, source = folder / "edges", pathlib.Path(__file__).with_name("edges.cpp")
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["g++", "-O2", "-std=c++17", "-o", program, source], check=True)
    return program


class Window:
    """What happened between two boundaries: energy in pJ by unit, and reads of the banks."""

    def __init__(self):
        # Of cells, of wires, and the number of edges.
        self.energy = {}
        # By name of the memory: words read, ones in them, bits that differ from the word before.
        self.reads = {}


def run(machine, pins, boundaries, folder):
    """Runs the netlist; a window for each stretch between boundaries, which are cycles."""
    price = prices(machine)
    done = subprocess.run([build(folder)], input=netlist(machine, pins, boundaries), text=True,
                          capture_output=True)
    if done.returncode != 0:
        raise SystemExit(f"the netlist does not do what the machine did: {done.stderr.strip()}")
    windows = [Window()]
    for line in done.stdout.splitlines():
        words = line.split()
        window = windows[-1]
        if words[0] == "window":
            windows.append(Window())
        elif words[0] == "bank":
            name = machine.macros[int(words[1])].unit
            reads = window.reads.setdefault(name, [0, 0, 0])
            window.reads[name] = [a + int(b) for a, b in zip(reads, words[2:])]
        elif int(words[0]) in price:
            unit, rise, fall, wire = price[int(words[0])]
            up, down = int(words[1]), int(words[2])
            energy = window.energy.setdefault(unit, [0.0, 0.0, 0])
            energy[0] += up * rise + down * fall
            energy[1] += (up + down) * wire
            energy[2] += up + down
    # The first is what comes before the first boundary, the last what comes after the last.
    return windows[1:-1]
