"""What a program costs, what bounds it, and when it does what."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from . import _text
from ._optional import frame
from ._qnnsim import TRACKS

BLUE, ORANGE = "#3b76c2", "#d9822b"


class ColdWarm(NamedTuple):
    """A figure for the cold image, where nothing is resident, and for each warm one after it."""

    cold: float
    warm: float


def _pair(values: dict[str, float]) -> ColdWarm:
    return ColdWarm(values["cold"], values["warm"])


class Profile(_text.Shown):
    """Cycles, energy and area of a program on its hardware point.

    Figures with two values, `cold` and `warm`, are for the first image and for each one after it.
    In a notebook it shows itself.

    Attributes
    ----------
    cycles : ColdWarm
        Clock cycles of an image.
    energy_pj : ColdWarm
        Energy of an image in pJ.
    latency_us : ColdWarm
        Time of an image in us.
    power_mw : ColdWarm
        Mean power in mW.
    images_per_s : float
        Warm images a second.
    area : dict
        As `HardwarePoint.area`.
    clock : dict or None
        As `HardwarePoint.clock`.
    hw : dict
        Every hardware parameter by its key, with fingerprint and technology.
    notes : list of str
        What to know of the figures: what was extrapolated, a clock above the highest.
    """

    def __init__(self, report: dict[str, Any]) -> None:
        self._report = report
        self.name: str = report["name"]
        self.cycles = _pair(report["cycles"])
        self.energy_pj = _pair(report["energy_pj"])
        self.latency_us = _pair(report["latency_us"])
        self.power_mw = _pair(report["power_mw"])
        self.images_per_s: float = report["images_per_s"]
        self.area: dict[str, Any] = report["area"]
        self.clock: dict[str, Any] | None = report["clock"]
        self.hw: dict[str, Any] = report["hw"]
        self.notes: list[str] = report["notes"]

    @property
    def layers(self) -> Any:
        """pandas.DataFrame: one row for `fetch`, each layer and `tail`; they add up to the image.

        Columns are those of ``qnnsim run --format json``: ``cycles`` and ``energy_pj`` of a warm
        image, ``cycles_cold``, ``energy_pj_cold``, ``macs`` (multiply-accumulates),
        ``utilization`` (0 to 1), ``dram_bytes``, ``stalls``.
        """
        return frame(self._report["layers"], of="layers")

    @property
    def units(self) -> Any:
        """pandas.DataFrame: busy, stalled and idle cycles and energy of each unit, warm image."""
        return frame(self._report["units"], of="units")

    @property
    def memories(self) -> Any:
        """pandas.DataFrame: size, use, accesses and energy of each memory, warm image."""
        return frame(self._report["memories"], of="memories")

    def to_dict(self) -> dict[str, Any]:
        """Everything, with the keys of ``qnnsim run --format json``."""
        return self._report

    def _facts(self) -> list[tuple[str, str]]:
        hw = self.hw
        array = "x".join(str(hw[f"mac.{key}"]) for key in ("rows", "cols", "lanes"))
        area = self.area
        silicon = "" if area["mm2"] is None else f"; {area['mm2']:.2f} mm2"
        return [
            ("hardware", f"{array}, {hw['clock.mhz']} MHz, {hw['technology']}"),
            ("cycles", f"{self.cycles.warm:,} warm, {self.cycles.cold:,} cold"),
            (
                "energy",
                f"{_text.energy(self.energy_pj.warm)} warm,"
                f" {_text.energy(self.energy_pj.cold)} cold",
            ),
            (
                "time",
                f"{_text.duration(self.latency_us.warm)} warm; {self.images_per_s:,.0f} images/s,"
                f" {self.power_mw.warm:,.1f} mW",
            ),
            (
                "area",
                f"{area['lut']:,} LUT, {area['ff']:,} FF, {area['bram36']:g} BRAM,"
                f" {area['dsp']:,} DSP{silicon}",
            ),
        ]

    def _title(self) -> str:
        return self.name

    def _table(self, *, html: bool) -> tuple[Sequence[str], list[list[str]]]:
        layers = self._report["layers"]
        rows = [
            [
                row["name"],
                f"{row['cycles']:,}",
                f"{row['share']:.1%}",
                f"{row['macs']:,}" if row["macs"] else "",
                f"{row['utilization']:.1%}" if row["macs"] else "",
                _text.energy(row["energy_pj"]),
            ]
            for row in layers
        ]
        head = ["layer", "cycles", "share", "MACs", "utilization", "energy"]
        if html:
            most = max(row["energy_pj"] for row in layers) or 1.0
            longest = max(row["cycles"] for row in layers) or 1
            for row, layer in zip(rows, layers):
                row.insert(2, _text.bar(layer["cycles"] / longest, BLUE))
                row.append(_text.bar(layer["energy_pj"] / most, ORANGE))
            head = [*head[:2], "", *head[2:], ""]
        return head, rows


class Explanation(_text.Shown):
    """What bounds each layer, and which hardware parameter would help, each tried by simulation.

    Attributes
    ----------
    cycles, energy_pj : ColdWarm
        Of an image as it is.
    """

    def __init__(self, explanation: dict[str, Any], name: str) -> None:
        self._explanation = explanation
        self.name = name
        self.cycles = _pair(explanation["cycles"])
        self.energy_pj = _pair(explanation["energy_pj"])

    @property
    def layers(self) -> Any:
        """pandas.DataFrame, warm image: ``cycles``, ``bound_by``, ``share`` (0 to 1) of the cycles
        for which that is occupied, ``helps_most`` with its values ``from`` and ``to``, and
        ``cycles_then``.
        """
        return frame(self._layers(), of="layers")

    @property
    def trials(self) -> Any:
        """pandas.DataFrame: each parameter doubled (a latency halved) and simulated: ``cycles`` and
        ``energy_pj`` of a warm image then, or the reason ``not_simulated``.
        """
        return frame(self._trials(), of="trials")

    def to_dict(self) -> dict[str, Any]:
        """Everything, with the keys of ``qnnsim explain --format json``."""
        return self._explanation

    def _layers(self) -> list[dict[str, Any]]:
        rows = []
        for layer in self._explanation["layers"]:
            bound = layer["warm"]
            best = bound["best"] or {}
            rows.append(
                {
                    "name": layer["name"],
                    "cycles": bound["cycles"],
                    "bound_by": bound["bound_by"],
                    "share": bound["share"],
                    "helps_most": best.get("parameter"),
                    "from": best.get("from"),
                    "to": best.get("to"),
                    "cycles_then": best.get("cycles"),
                }
            )
        return rows

    def _trials(self) -> list[dict[str, Any]]:
        rows = []
        for trial in self._explanation["parameters"]:
            figures, refusal = trial["figures"], trial["not_simulated"]
            rows.append(
                {
                    "parameter": trial["parameter"],
                    "from": trial["from"],
                    "to": trial["to"],
                    "cycles": figures and figures["cycles"]["warm"],
                    "energy_pj": figures and figures["energy_pj"]["warm"],
                    "not_simulated": refusal and refusal["reason"],
                }
            )
        return rows

    _words = 3

    def _title(self) -> str:
        return f"{self.name}: what bounds each layer, warm image"

    def _table(self, *, html: bool) -> tuple[Sequence[str], list[list[str]]]:
        rows = []
        for row in self._layers():
            then, cycles = row["cycles_then"], row["cycles"]
            helps = f"{row['helps_most']} {row['from']} -> {row['to']}" if then is not None else ""
            rows.append(
                [
                    row["name"],
                    row["bound_by"] or "",
                    helps,
                    f"{cycles:,}",
                    f"{row['share']:.1%}" if cycles else "",
                    "" if then is None else f"{then:,}",
                    "" if then is None else f"{then / cycles - 1:+.1%}",
                ]
            )
        head = ("layer", "bound by", "helps most", "cycles", "share", "cycles then", "change")
        return head, rows


class Timeline:
    """Every instruction of an image, and when each stage works at it.

    Attributes
    ----------
    cold : bool
        Whether it is the cold image's.
    """

    COLUMNS = ("start", "end", "track", "layer", "instruction", "steps", "busy", "waited")

    def __init__(
        self, rows: Sequence[tuple[Any, ...]], events: Callable[[], str], name: str, cold: bool
    ) -> None:
        self._rows = rows
        self._events = events
        self._name = name
        self.cold = cold

    def __len__(self) -> int:
        return len(self._rows)

    def to_dict(self) -> dict[str, list[Any]]:
        """Columns by name: first and last cycle, track, layer (or None), the instruction as the
        assembler writes it, steps, busy cycles, and cycles waited by cause.
        """
        columns = {name: [row[i] for row in self._rows] for i, name in enumerate(self.COLUMNS)}
        columns["waited"] = [dict(waited) for waited in columns["waited"]]
        return columns

    def to_frame(self) -> Any:
        """The same as a pandas.DataFrame."""
        return frame(self.to_dict(), of="the timeline")

    def to_perfetto(self, path: str | os.PathLike[str]) -> None:
        """Writes the trace-event JSON that Perfetto opens: a track a stage, in true time.

        Parameters
        ----------
        path : path
            The file to write.
        """
        Path(path).write_text(self._events(), encoding="utf-8")

    def plot(self, ax: Any = None) -> Any:
        """Draws what each track does by cycle, coloured by layer, with matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure if it is left out.

        Returns
        -------
        matplotlib.axes.Axes
        """
        from ._optional import need

        plt = need("matplotlib.pyplot", "a plot")
        if ax is None:
            _, ax = plt.subplots(figsize=(10, 3))
        tracks = [t for t in TRACKS if any(row[2] == t for row in self._rows)]
        layers = list(dict.fromkeys(row[3] for row in self._rows if row[3] is not None))
        colours = plt.get_cmap("tab10")
        for layer in [*layers, None]:
            colour = "0.7" if layer is None else colours(layers.index(layer) % 10)
            for place, track in enumerate(tracks):
                mine = [r for r in self._rows if (r[2], r[3]) == (track, layer)]
                spans = [(start, end + 1 - start) for start, end, *_ in mine]
                ax.broken_barh(spans, (place - 0.4, 0.8), color=colour, linewidth=0)
            ax.plot([], [], color=colour, linewidth=6, label=layer or "no layer")
        ax.set_yticks(range(len(tracks)), tracks)
        ax.invert_yaxis()
        ax.set_xlabel("cycle")
        above = {"loc": "upper center", "bbox_to_anchor": (0.5, 1.2)}
        ax.legend(ncols=min(6, len(layers) + 1), frameon=False, **above)
        return ax

    def __repr__(self) -> str:
        image = "cold" if self.cold else "warm"
        return f"<timeline of {self._name}, {image} image: {len(self):,} spans>"

    def _repr_html_(self) -> str:
        return str(self.to_frame()._repr_html_())
