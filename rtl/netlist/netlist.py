"""The machine as a netlist of library cells: synthesized unit by unit, put together, and timed.

Units are synthesized once a set of parameters and kept in a folder; a machine is its units with
what is around them. Banks of memories are macros: what they read comes out as a flip-flop's value
does, and their energy is not part of a netlist's.
"""

import hashlib
import json
import pathlib
import re
import subprocess

RTL = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ["isa_pkg.sv", "machine_pkg.sv"]
MACRO = "scratchpad"
# Modules that are synthesized for themselves; all others belong to the one that they are in.
UNITS = ["machine", "front_end", "sequencer", "semaphores", "load", "mac", "array", "element",
         "thr", "threshold_unit", "threshold_column", "max_pool_unit", "store"]
# Parameters of a machine that is not told otherwise: buffers small enough to be simulated.
DEFAULTS = {
    "MAC_ROWS": 4, "MAC_COLS": 4, "MAC_LANES": 32, "MAC_DEPTH": 4, "MAC_TAPS": 16, "ACC_BANKS": 2,
    "ACT_WORDS": 512, "WGT_WORDS": 512, "THR_COLS": 2, "THR_DEPTH": 2, "THR_BUFFERS": 2,
    "THR_WORDS": 128, "LOAD_WIDTH": 1, "LOAD_DEPTH": 2, "LOAD_BUFFERS": 2, "STORE_BUFFERS": 2,
    "QUEUE_DEPTH": 2, "FETCH_WORDS": 8, "DRAM_WIDTH": 8, "DRAM_BURST": 4,
}


def code(name):
    """A source without its comments."""
    return re.sub(r"//.*|/\*.*?\*/", "", (RTL / f"{name}.sv").read_text())


def sources(top):
    """Files that make a unit without the units in it, packages first."""
    names = {path.stem for path in RTL.glob("*.sv")}
    found, left = set(), [top]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += names & set(re.findall(r"\w+", code(name))) - found
    return PACKAGES + sorted(f"{name}.sv" for name in found if not name.endswith("_pkg"))


def parameters_of(unit, point):
    """Names and values of the parameters that a unit has, of those of a point."""
    head = code(unit).split(") (", 1)[0] if ") (" in code(unit) else ""
    names = re.findall(r"(?<!local)(?:parameter\s+int unsigned\s+|,\s*)([A-Z_]+)\s*=", head)
    return {name: point[name] for name in names if name in point}


class Synthesis:
    """Netlists of units, kept in a folder."""

    def __init__(self, library, folder, period_ps=3000):
        self.library, self.folder = library, pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.period_ps = period_ps
        self.liberty = self.folder / f"{library.name}.lib"
        if not self.liberty.exists():
            self.liberty.write_text(library.text)
        self.constraints = self.folder / "constraints"
        self.constraints.write_text(
            f"set_driving_cell {library.driver}\nset_load 10 [all_outputs]\n")

    def unit(self, unit, point, gaps=False):
        """The netlist of a unit, as yosys writes it in JSON: its only module."""
        values = parameters_of(unit, point)
        inside = [name for name in UNITS if name not in (unit, "machine")] + [MACRO]
        files = sources(unit)
        settings = "".join(f" -set {name} {value}" for name, value in values.items())
        settings += " -set GAPS 1" if gaps else ""
        hollow = " ".join(f"{name} $paramod*?{name} $paramod?{name}?*"
                          for name in inside if f"{name}.sv" in files)
        lines = [f"read_verilog -sv {' '.join(files)}"]
        lines += [f"chparam{settings} {unit}"] if settings else []
        lines += [f"hierarchy -check -top {unit}", f"rename -top {unit}"]
        lines += [f"blackbox {hollow}"] if hollow else []
        lines += ["flatten", f"synth -noabc -nordff -top {unit}",
                  f"dfflibmap -liberty {self.liberty}",
                  f"abc -liberty {self.liberty} -constr {self.constraints} -D {self.period_ps}",
                  "opt_clean -purge"]
        digest = hashlib.sha256("\n".join(lines).encode())
        for name in files:
            digest.update(" ".join(code(name.removesuffix(".sv")).split()).encode())
        kept = self.folder / f"{unit}-{digest.hexdigest()[:16]}.json"
        if not kept.exists():
            made = kept.with_suffix(".part")
            script = kept.with_suffix(".ys")
            script.write_text("\n".join([*lines, f"write_json {made}"]))
            done = subprocess.run(["yosys", "-q", "-s", script], cwd=RTL, capture_output=True,
                                  text=True)
            if done.returncode != 0:
                raise SystemExit(f"{unit} {values}: {done.stderr.strip()[-2000:]}")
            script.unlink()
            made.rename(kept)
        modules = json.loads(kept.read_text())["modules"]
        return modules[unit]


class Instance:
    """A cell, or a bank of a memory, with the nets at its pins."""

    __slots__ = ("cell", "unit", "pins")

    def __init__(self, cell, unit, pins):
        self.cell, self.unit, self.pins = cell, unit, pins


class Machine:
    """All cells of a machine. Nets are numbers; 0 and 1 are the constants."""

    # More inputs than these get buffers in between.
    FAN_OUT = 12

    def __init__(self, synthesis, point, top="machine"):
        """The whole machine, or one unit with all that is in it."""
        self.library, self.synthesis, self.point = synthesis.library, synthesis, point
        self.instances, self.macros, self.parent = [], [], [0, 1]
        unit = "element" if top == "row_sum" else top
        module = synthesis.unit(unit, point, top == "row_sum")
        nets = {"0": 0, "1": 1, "x": 0, "z": 0}
        ports = {}
        for name, port in module["ports"].items():
            ports[name] = [self.net(nets, bit) for bit in port["bits"]]
        self.put(unit, top, module, nets)
        self.inputs, self.outputs = {}, {}
        for name, port in module["ports"].items():
            side = self.inputs if port["direction"] == "input" else self.outputs
            side[name] = [self.root(net) for net in ports[name]]
        self.clock = self.inputs.pop("clk")[0]
        for instance in self.instances + self.macros:
            instance.pins = {pin: self.root(net) if isinstance(net, int)
                             else [self.root(n) for n in net] for pin, net in instance.pins.items()}
        self.buffer()
        self.connect()

    def net(self, nets, bit):
        bit = str(bit)
        if bit not in nets:
            nets[bit] = len(self.parent)
            self.parent.append(nets[bit])
        return nets[bit]

    def root(self, net):
        while self.parent[net] != net:
            self.parent[net] = self.parent[self.parent[net]]
            net = self.parent[net]
        return net

    def put(self, unit, label, module, nets):
        """Puts a unit with all that is in it into the machine."""
        for name, cell in module["cells"].items():
            kind, connections = cell["type"], cell["connections"]
            if kind in self.library.cells:
                pins = {pin: self.net(nets, bits[0]) for pin, bits in connections.items() if bits}
                self.instances.append(Instance(self.library.cells[kind], label, pins))
                continue
            inner = kind.split("\\")
            inner = next(part for part in inner if part in UNITS or part == MACRO)
            pins = {pin: [self.net(nets, bit) for bit in bits] for pin, bits in connections.items()}
            if inner == MACRO:
                self.macros.append(Instance(None, name.split(".")[0].split("[")[0], pins))
                continue
            gaps = name.endswith("row_sum")
            child = self.synthesis.unit(inner, self.point, gaps)
            local = {"0": 0, "1": 1, "x": 0, "z": 0}
            for pin, port in child["ports"].items():
                for bit, outside in zip(port["bits"], pins.get(pin, [])):
                    # A port may be another one, or a constant.
                    one, other = self.root(self.net(local, bit)), self.root(outside)
                    if one != other:
                        self.parent[max(one, other)] = min(one, other)
            self.put(inner, "row_sum" if gaps else inner, child, local)

    def sinks(self):
        """Where each net goes: an instance, its pin, and a place in it for a bank."""
        found = {}
        for instance in self.instances:
            for pin, net in instance.pins.items():
                if pin not in (instance.cell.output, instance.cell.clock):
                    found.setdefault(net, []).append((instance, pin, None))
        for macro in self.macros:
            for pin, nets in macro.pins.items():
                if pin not in ("clk", "read_data"):
                    for i, net in enumerate(nets):
                        found.setdefault(net, []).append((macro, pin, i))
        return found

    def buffer(self):
        """What drives many inputs drives them through a tree of buffers."""
        cell = self.library.cells[self.library.driver.replace("_1", "_4")]
        units = {}
        for instance in self.instances:
            units[instance.pins.get(instance.cell.output)] = instance.unit
        for net, sinks in self.sinks().items():
            while net > 1 and len(sinks) > self.FAN_OUT:
                above = []
                for start in range(0, len(sinks), self.FAN_OUT):
                    new = len(self.parent)
                    self.parent.append(new)
                    for instance, pin, i in sinks[start:start + self.FAN_OUT]:
                        if i is None:
                            instance.pins[pin] = new
                        else:
                            instance.pins[pin][i] = new
                    made = Instance(cell, units.get(net, "machine"),
                                    {cell.inputs[0]: net, cell.output: new})
                    self.instances.append(made)
                    above.append((made, cell.inputs[0], None))
                sinks = above

    # ---- Loads and times ----

    # Farads a length of a wire, much the same at every node: Weste and Harris, CMOS VLSI Design,
    # 4th edition, section 6.2.2: about 0.2 fF/um.
    WIRE_PF_PER_UM = 0.2e-3
    # Of the clock's edge, and of what comes from outside.
    SLEW_NS = 0.05

    def connect(self):
        """What each net is loaded with, in pF: pins, and an estimate of its wire."""
        flip_flop = self.library.flip_flop
        self.pin_pf, self.wire_pf, self.fan_out = {}, {}, {}
        data = flip_flop.inputs[0]
        for net, sinks in self.sinks().items():
            # A bank's input is taken to be like that of a flip-flop.
            self.pin_pf[net] = sum(
                flip_flop.capacitance[data] if i is not None else instance.cell.capacitance[pin]
                for instance, pin, i in sinks)
            self.wire_pf[net] = self.library.wire_um(len(sinks)) * self.WIRE_PF_PER_UM
            self.fan_out[net] = len(sinks)

    def load(self, net):
        return self.pin_pf.get(net, 0.0) + self.wire_pf.get(net, 0.0)

    def time(self):
        """Arrival and slew of both edges of every net, in ns after the clock, and what decides.

        Fills `arrival[net] = [rise, fall]`, `slew`, `why[net] = [(net, edge), ...]`.
        """
        flip_flop = self.library.flip_flop
        self.arrival, self.slew, self.why = {}, {}, {}
        _, _, delays, slews = next(arc for arc in flip_flop.arcs if arc[0] == flip_flop.clock)

        def start(net):
            load = self.load(net)
            self.arrival[net] = [table.at(self.SLEW_NS, load) for table in delays]
            self.slew[net] = [table.at(self.SLEW_NS, load) for table in slews]
            self.why[net] = [None, None]

        for net in (0, 1):
            self.arrival[net], self.slew[net], self.why[net] = [0.0, 0.0], [0.0, 0.0], [None, None]
        for nets in self.inputs.values():
            for net in nets:
                start(net)
        for macro in self.macros:
            for net in macro.pins["read_data"]:
                start(net)
        waiting, users, ready = {}, {}, []
        for instance in self.instances:
            if instance.cell.flip_flop:
                start(instance.pins[instance.cell.output])
        for instance in self.instances:
            if instance.cell.flip_flop:
                continue
            nets = {instance.pins[pin] for pin in instance.cell.inputs}
            left = [net for net in nets if net not in self.arrival]
            waiting[id(instance)] = len(left)
            for net in left:
                users.setdefault(net, []).append(instance)
            if not left:
                ready.append(instance)
        count = 0
        while ready:
            instance = ready.pop()
            count += 1
            self.time_cell(instance)
            for user in users.get(instance.pins[instance.cell.output], ()):
                waiting[id(user)] -= 1
                if waiting[id(user)] == 0:
                    ready.append(user)
        if count != len(waiting):
            raise SystemExit("the netlist has a loop of gates, or nets that nothing drives")

    def time_cell(self, instance):
        cell, net = instance.cell, instance.pins[instance.cell.output]
        load = self.load(net)
        best, slews, why = [0.0, 0.0], [self.SLEW_NS] * 2, [None, None]
        for pin, sense, delay, transition in cell.arcs:
            source = instance.pins[pin]
            arrival, slew = self.arrival[source], self.slew[source]
            for edge in range(2):
                if delay[edge] is None:
                    continue
                froms = {"positive_unate": [edge], "negative_unate": [1 - edge]}.get(sense, [0, 1])
                for from_edge in froms:
                    at = arrival[from_edge] + delay[edge].at(slew[from_edge], load)
                    if at > best[edge]:
                        best[edge], why[edge] = at, (source, from_edge)
                        slews[edge] = transition[edge].at(slew[from_edge], load)
        self.arrival[net], self.slew[net], self.why[net] = best, slews, why

    def delay_of(self, instance):
        """Mean delay of a cell's output, rising and falling, in ns."""
        cell, load = instance.cell, self.load(instance.pins[instance.cell.output])
        both = []
        for edge in range(2):
            values = []
            for pin, _, delay, _ in cell.arcs:
                if delay[edge] is not None:
                    slew = self.SLEW_NS if pin == cell.clock else \
                        sum(self.slew[instance.pins[pin]]) / 2
                    values.append(delay[edge].at(slew, load))
            both.append(sum(values) / len(values))
        return both

    def critical_paths(self):
        """The longest path that ends in each unit, in ns, with the units that it goes through.

        A path ends in a flip-flop, in a bank of a memory (`memories`) or at DRAM's pins (`dram`).
        """
        drivers = {i.pins[i.cell.output]: i.unit for i in self.instances}
        setups = self.library.flip_flop.setup
        worst = {}

        def end(unit, net):
            for edge in range(2):
                setup = max(tables[edge].at(self.SLEW_NS, self.slew[net][edge])
                            for tables in setups if tables[edge])
                total = self.arrival[net][edge] + setup
                if total > worst.get(unit, (0.0,))[0]:
                    worst[unit] = (total, net, edge)

        for instance in self.instances:
            if instance.cell.flip_flop:
                end(instance.unit, instance.pins[instance.cell.inputs[0]])
        for macro in self.macros:
            for pin, nets in macro.pins.items():
                if pin not in ("clk", "read_data"):
                    for net in nets:
                        end("memories", net)
        for nets in self.outputs.values():
            for net in nets:
                end("dram", net)
        found = {}
        for unit, (total, net, edge) in worst.items():
            through, gates = [], 0
            while net is not None:
                at = drivers.get(net, "memories" if net > 1 else "")
                if not through or through[-1] != at:
                    through.append(at)
                step = self.why[net][edge]
                net, edge = step if step else (None, None)
                gates += 1
            found[unit] = (total, gates, through[::-1])
        return found
