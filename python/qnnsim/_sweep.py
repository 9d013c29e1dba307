"""Sweeps over hardware points."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import _qnnsim, _text
from ._hardware import HardwarePoint, point
from ._model import Model, load_model
from ._optional import frame, need
from ._program import Program
from ._progress import progress
from .errors import InvalidInput

#: What objectives may be called; other names are columns.
SHORT = {"energy": "energy_pj", "area": "mm2", "latency": "latency_us"}


class Sweep(_text.Shown):
    """Every point of a space with its exact figures.

    Attributes
    ----------
    minimize : list of str
        Columns that the front is of.
    axes : list of str
        Parameters that vary.
    about : dict
        Unit and sentence of each column.
    """

    def __init__(self, swept: dict[str, Any], minimize: list[str], axes: list[str]) -> None:
        self._columns: dict[str, list[Any]] = swept["columns"]
        self._page: str = swept["page"]
        self.about: dict[str, tuple[str, str]] = swept["about"]
        self.minimize = minimize
        self.axes = axes

    @property
    def points(self) -> Any:
        """pandas.DataFrame: a row for each point. ``status`` is ``ok``, ``skipped`` (it cannot
        reach the front), ``unfit``, ``invalid`` or ``trap``; figures are missing unless it is
        ``ok``, and ``reason`` says why.
        """
        return frame(self._columns, of="points")

    @property
    def front(self) -> Any:
        """pandas.DataFrame: the points that no other dominates, of each model, by the first
        objective.
        """
        points = self.points
        front = points[points["pareto"] == True]  # noqa: E712 - the column holds None as well
        keep = ["index", "source", *self.axes, *self.minimize]
        rest = [name for name in points.columns if name not in keep]
        return front[keep + rest].sort_values(["source", self.minimize[0]], ignore_index=True)

    def to_dict(self) -> list[dict[str, Any]]:
        """The rows of `points`, each by the names of the columns."""
        columns = self._columns
        return [dict(zip(columns, row)) for row in zip(*columns.values())]

    def best(self, objective: str | None = None) -> HardwarePoint:
        """The hardware point of the front with the least of an objective.

        Parameters
        ----------
        objective : str, optional
            One of `minimize`; the first by default.

        Returns
        -------
        HardwarePoint
        """
        name = self.minimize[0] if objective is None else SHORT.get(objective, objective)
        if name not in self.minimize:
            raise InvalidInput(f"`{name}` is none of the objectives {', '.join(self.minimize)}")
        rows = [i for i, on in enumerate(self._columns["pareto"]) if on]
        if not rows:
            raise InvalidInput("no point of the sweep has figures\n  help: see `points.reason`")
        row = min(rows, key=lambda i: self._columns[name][i])
        return self.point(self._columns["index"][row])

    def point(self, index: int) -> HardwarePoint:
        """The hardware point of an index of `points`."""
        row = self._columns["index"].index(index)
        settings = {row_[0]: self._columns[row_[0]][row] for row_ in _qnnsim.parameters()}
        return HardwarePoint({**settings, "technology": self._columns["technology"][row]})

    def report(self, path: str | os.PathLike[str] | None = None) -> str | None:
        """The report to choose by: one HTML page without need of a network.

        Parameters
        ----------
        path : path, optional
            The file to write; without it the page is returned.

        Returns
        -------
        str or None
        """
        if path is None:
            return self._page
        Path(path).write_text(self._page, encoding="utf-8")
        return None

    def plot(self, ax: Any = None) -> Any:
        """Draws the first two objectives of every point, the front in colour, with matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure if it is left out.

        Returns
        -------
        matplotlib.axes.Axes
        """
        plt = need("matplotlib.pyplot", "a plot")
        if len(self.minimize) < 2:
            raise InvalidInput("a plot needs two objectives\n  help: minimize=['energy', 'cycles']")
        if ax is None:
            _, ax = plt.subplots(figsize=(7, 4))
        x, y = self.minimize[:2]
        table = self._columns
        sources = list(dict.fromkeys(table["source"]))
        for place, source in enumerate(sources):
            mine = [i for i, name in enumerate(table["source"]) if name == source]
            rest = [i for i in mine if table["status"][i] == "ok" and not table["pareto"][i]]
            front = sorted((i for i in mine if table["pareto"][i]), key=lambda i: table[x][i])
            colour = f"C{place}"
            ax.scatter([table[x][i] for i in rest], [table[y][i] for i in rest], s=9, color="0.75")
            xs, ys = [table[x][i] for i in front], [table[y][i] for i in front]
            ax.plot(xs, ys, "o-", color=colour, markersize=5, linewidth=1, label=source)
        for axis, name in (("x", x), ("y", y)):
            unit = self.about[name][0]
            getattr(ax, f"set_{axis}label")(name if unit in ("", "cycles") else f"{name} [{unit}]")
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.legend(frameon=False)
        return ax

    #: Points of the front that are shown.
    _SHOWN_MAX = 12

    def _title(self) -> str:
        return f"sweep of {', '.join(dict.fromkeys(self._columns['source']))}"

    def _facts(self) -> list[tuple[str, str]]:
        status = self._columns["status"]
        counts = [f"{status.count(s):,} {s}" for s in dict.fromkeys(status)]
        front = sum(bool(on) for on in self._columns["pareto"])
        text = f"{front:,} points of least {', '.join(self.minimize)}"
        if front > self._SHOWN_MAX:
            text += f"; the first {self._SHOWN_MAX}"
        return [("points", f"{len(status):,}: {', '.join(counts)}"), ("front", text)]

    def _table(self, *, html: bool) -> tuple[Sequence[str], list[list[str]]]:
        names = ["source", *self.axes, *self.minimize]
        rows = [i for i, on in enumerate(self._columns["pareto"]) if on]
        rows.sort(key=lambda i: self._columns[self.minimize[0]][i])

        def cell(name: str, i: int) -> str:
            value = self._columns[name][i]
            if name.startswith("energy_pj"):
                return _text.energy(value)
            return f"{value:,}" if isinstance(value, int) else str(value)

        return names, [[cell(name, i) for name in names] for i in rows[: self._SHOWN_MAX]]


def sweep(
    models: Any,
    axes: Mapping[str, Iterable[Any]],
    *,
    minimize: Sequence[str] = ("energy", "cycles"),
    example_input: Any = None,
    hw: Any = None,
    tied: Mapping[str, str] | None = None,
    constraints: Sequence[str] = (),
    sample: int | None = None,
    seed: int = 0,
    exhaustive: bool = True,
    shard: tuple[int, int] = (1, 1),
    show_progress: bool | None = None,
) -> Sweep:
    """Compiles and simulates models on every point of a space of hardware points, on all cores.

    Parameters
    ----------
    models : model, sequence or mapping of models
        Models as `compile` takes them, or programs that it made; a mapping names them.
    axes : mapping from str to values
        Hardware parameters that vary, ``{"mac.cols": [8, 16, 32]}``, or ``technology``.
    minimize : sequence of str
        Columns that the front is of; ``"energy"``, ``"area"`` and ``"latency"`` are short for
        ``energy_pj``, ``mm2`` and ``latency_us``. Of ``images_per_s`` and ``utilization`` more is
        better.
    example_input : torch.Tensor or array, shape (1, channels, height, width)
        An input of the modules; needed where `models` are torch modules.
    hw : HardwarePoint, mapping or path, optional
        Parameters that do not vary.
    tied : mapping from str to str, optional
        Parameters that follow from others: ``{"thr.cols": "mac.cols / 2"}``.
    constraints : sequence of str
        What a point must meet: ``"mac.rows * mac.cols <= 512"``.
    sample : int, optional
        So many points at random instead of all.
    seed : int
        Of the sample.
    exhaustive : bool
        False skips points whose lower bounds say that they cannot reach the front.
    shard : tuple of int
        Part I of N of the space, for tasks of a cluster: ``(1, 4)`` to ``(4, 4)``.
    show_progress : bool, optional
        By default where a person looks.

    Returns
    -------
    Sweep

    Raises
    ------
    InvalidInput
        The space has a mistake, no point or too many, or an objective is none.
    """
    named = _named(models, example_input)
    space: dict[str, Any] = {
        "models": [{"file": f"{name}.onnx"} for name in named],
        "base": _groups(point(hw)),
        "axes": {str(key): {"List": _values(key, values)} for key, values in axes.items()},
        "tied": dict(tied or {}),
        "constraints": list(constraints),
    }
    if sample is not None:
        space["sample"] = {"points": int(sample), "seed": int(seed)}
    objectives = [SHORT.get(name, name) for name in minimize]
    with progress("point", show_progress) as watch:
        natives = [model._native for model in named.values()]
        swept = _qnnsim.sweep(natives, space, objectives, not exhaustive, shard, watch)
    return Sweep(swept, objectives, [*space["axes"], *space["tied"]])


def _named(models: Any, example_input: Any) -> dict[str, Model]:
    """Models by their names, which differ."""
    if isinstance(models, Mapping):
        return {str(name): _model(model, example_input) for name, model in models.items()}
    many = models if isinstance(models, (list, tuple)) else [models]
    named: dict[str, Model] = {}
    for model in (_model(one, example_input) for one in many):
        name, number = model.name, 2
        while name in named:
            name, number = f"{model.name}_{number}", number + 1
        named[name] = model
    return named


def _model(model: Any, example_input: Any) -> Model:
    if isinstance(model, Program):
        if model.model is None:
            raise InvalidInput(
                f"`{model.name}` was loaded from a program file, which is compiled already\n"
                "  help: give the model, or the program that qnnsim.compile returned"
            )
        return model.model
    return load_model(model, example_input, stacklevel=5)


def _values(key: str, values: Iterable[Any]) -> list[Any]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidInput(f"the values of axis `{key}` are a list, not {values!r}")
    return [v if isinstance(v, str) else int(v) for v in values]


def _groups(hw: HardwarePoint) -> dict[str, Any]:
    groups: dict[str, Any] = {}
    for key, value in hw.given.items():
        group, dot, name = key.partition(".")
        if dot:
            groups.setdefault(group, {})[name] = value
        else:
            groups[key] = value
    return groups
