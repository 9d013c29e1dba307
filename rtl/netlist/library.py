"""A cell library in the Liberty format: what times a netlist and counts its energy.

Units are those of the library that is read: ns, pF, pJ, um2. Cells that no plain synthesis uses,
such as level shifters, delay cells and scan flip-flops, are left out.
"""

import bisect
import gzip
import pathlib
import re

# Cells of no use here, and flip-flops other than the plain one, so that all count alike.
LEFT_OUT = re.compile(
    r"__(lpflow_|probe|dly|clkdly|macro|decap|diode|ebufn|einv|sdf|sedf|edf|sdl|dl|dfb|dfr|dfs|"
    r"dfxbp|fah|fa_|ha_|conb|fill|tap|clkinvlp|bufbuf|bufinv)")


def text_of(path):
    path = pathlib.Path(path)
    return gzip.open(path, "rt").read() if path.suffix == ".gz" else path.read_text()


def wanted(text):
    """The library without the cells that are left out."""
    parts = re.split(r"(?m)^(?=\s*cell\s*\()", text)
    kept = [part for part in parts[1:] if not LEFT_OUT.search(part.split("{", 1)[0])]
    end = "" if parts[-1] in kept else "}\n"
    return parts[0] + "".join(kept) + end


class Group:
    """A group of a library: `kind (name) { attributes, groups }`."""

    def __init__(self, kind, name):
        self.kind, self.name, self.attributes, self.groups = kind, name, {}, []

    def all(self, kind):
        return [group for group in self.groups if group.kind == kind]

    def one(self, kind):
        found = self.all(kind)
        return found[0] if found else None


def parse(text):
    """The outermost group of a library."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S).replace("\\\n", " ")
    token = re.compile(r'"[^"]*"|[{}();:,]|[^\s{}();:,"]+')
    tokens = token.findall(text)
    at = 0

    def group(kind, names):
        nonlocal at
        made = Group(kind, names[0] if names else "")
        while tokens[at] != "}":
            word = tokens[at]
            at += 1
            if word == ";":
                continue
            if tokens[at] == ":":
                value = []
                at += 1
                while tokens[at] not in ";}":
                    value.append(tokens[at].strip('"'))
                    at += 1
                made.attributes[word] = " ".join(value)
            elif tokens[at] == "(":
                values = []
                at += 1
                while tokens[at] != ")":
                    if tokens[at] != ",":
                        values.append(tokens[at].strip('"'))
                    at += 1
                at += 1
                if at < len(tokens) and tokens[at] == "{":
                    at += 1
                    made.groups.append(group(word, values))
                else:
                    made.attributes.setdefault(word, values)
        at += 1
        return made

    outer = Group("", "")
    at = tokens.index("{") + 1
    outer = group("library", [tokens[2].strip('"')])
    return outer


class Table:
    """Values over an input's slew and an output's load, linear between the points and beyond."""

    def __init__(self, group):
        def numbers(text):
            return [float(x) for x in re.split(r"[,\s]+", text.strip()) if x]

        at = group.attributes
        rows = [numbers(row) for row in at["values"]]
        self.first = numbers(at["index_1"][0]) if "index_1" in at else [0.0]
        self.second = numbers(at["index_2"][0]) if "index_2" in at else None
        self.rows = rows if self.second else rows[0]

    @staticmethod
    def between(points, value):
        if len(points) == 1:
            return 0, 0.0
        i = min(max(bisect.bisect_right(points, value) - 1, 0), len(points) - 2)
        return i, (value - points[i]) / (points[i + 1] - points[i])

    def at(self, slew, load):
        i, x = self.between(self.first, slew)
        if self.second is None:
            if len(self.rows) == 1:
                return self.rows[0]
            return self.rows[i] + x * (self.rows[i + 1] - self.rows[i])
        j, y = self.between(self.second, load)
        low, high = self.rows[i], self.rows[min(i + 1, len(self.rows) - 1)]
        j1 = min(j + 1, len(low) - 1)
        a = low[j] + y * (low[j1] - low[j])
        b = high[j] + y * (high[j1] - high[j])
        return a + x * (b - a)


class Cell:
    """A cell with one output: its function, areas and energies."""

    def __init__(self, group):
        self.name = group.name
        self.area = float(group.attributes["area"])
        # The library tells leakage for each state of the inputs and their mean.
        self.leakage_nw = float(group.attributes.get("cell_leakage_power", 0.0))
        self.inputs, self.capacitance, self.powers, self.arcs = [], {}, {}, []
        self.clock, self.output, self.function, self.setup = None, None, None, []
        ff = group.one("ff")
        for pin in group.all("pin"):
            attributes = pin.attributes
            powers = [self.tables(p, "rise_power", "fall_power") for p in pin.all("internal_power")]
            if attributes["direction"] == "input":
                self.capacitance[pin.name] = float(attributes["capacitance"])
                if attributes.get("clock") == "true":
                    self.clock = pin.name
                else:
                    self.inputs.append(pin.name)
                    self.setup += [
                        self.tables(timing, "rise_constraint", "fall_constraint")
                        for timing in pin.all("timing")
                        if timing.attributes.get("timing_type") == "setup_rising"]
            elif attributes["direction"] == "output":
                self.output = pin.name
                self.function = attributes.get("function")
                for timing in pin.all("timing"):
                    kind = timing.attributes.get("timing_type", "combinational")
                    if kind in ("combinational", "rising_edge"):
                        self.arcs.append((
                            timing.attributes["related_pin"],
                            timing.attributes.get("timing_sense", "non_unate"),
                            self.tables(timing, "cell_rise", "cell_fall"),
                            self.tables(timing, "rise_transition", "fall_transition")))
            self.powers[pin.name] = powers
        self.flip_flop = ff is not None
        if ff:
            self.next_state = ff.attributes["next_state"]

    @staticmethod
    def tables(group, *kinds):
        found = [group.one(kind) for kind in kinds]
        return [Table(group) if group is not None and "values" in group.attributes else None
                for group in found]

    def energy_pj(self, pin, slew, load):
        """Energy inside of the cell when a pin rises, and when it falls: means over states."""
        both = []
        for edge in range(2):
            values = [tables[edge].at(slew, load) for tables in self.powers.get(pin, [])
                      if tables[edge]]
            both.append(sum(values) / len(values) if values else 0.0)
        return both


class Library:
    """All cells by name, voltage and corner."""

    def __init__(self, path):
        self.text = wanted(text_of(path))
        group = parse(self.text)
        self.name = group.name
        conditions = group.one("operating_conditions").attributes
        self.voltage = float(conditions["voltage"])
        self.temperature = float(conditions["temperature"])
        cells = [Cell(cell) for cell in group.all("cell")]
        self.cells = {cell.name: cell for cell in cells if cell.output}
        flip_flops = [cell for cell in cells if cell.flip_flop]
        self.flip_flop = min(flip_flops, key=lambda cell: cell.area)
        # What is taken to drive an input from outside.
        buffers = [cell for cell in self.cells.values() if not cell.flip_flop and cell.function
                   and len(cell.inputs) == 1 and "!" not in cell.function]
        self.driver = min(buffers, key=lambda cell: (cell.area, cell.name)).name
        wire = group.one("wire_load").attributes
        # Length of the wire of a net by its fan-out, as the library estimates it.
        self.wire_slope = float(wire["slope"])
        self.lengths = wire_lengths(self.text)

    def wire_um(self, fan_out):
        known = self.lengths
        if fan_out in known:
            return known[fan_out]
        last = max(known)
        return known[last] + (fan_out - last) * self.wire_slope if fan_out > last else 0.0


def wire_lengths(text):
    first = text[text.index("wire_load("):]
    first = first[:first.index("}")]
    pairs = re.findall(r"fanout_length\(\s*(\d+),\s*([\d.]+)\)", first)
    return {int(fan_out): float(um) for fan_out, um in pairs}
