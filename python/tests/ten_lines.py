"""The ten lines of the package's README on networks that nobody trained before.

Each line with its time and what it gives: a residual network, one with depthwise layers, one of one
dimension. What lines say of each other must agree.

    python python/tests/ten_lines.py
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import networks
import numpy as np
import torch

import qnnsim


def tour(module: torch.nn.Module, x: np.ndarray, folder: Path) -> None:
    """Runs every call on a module and its images."""

    def line(text: str, call: Callable[[], object], shown: Callable[[object], str] = repr):
        started = time.perf_counter()
        value = call()
        took = time.perf_counter() - started
        said = shown(value).splitlines()
        print(f"  {took * 1000:7.1f} ms  {text}")
        print(*(f"              {one}" for one in said[:9]), sep="\n")
        return value

    file, html, trace = folder / "net.bin", folder / "sweep.html", folder / "run.json"
    p = line(
        'p = qnnsim.compile(model, example_input, hw={"mac.cols": 32})',
        lambda: qnnsim.compile(module, torch.from_numpy(x[:1]), hw={"mac.cols": 32}),
    )
    line('p.save("net.bin")', lambda: p.save(file), lambda _: f"{file.stat().st_size:,} bytes")
    saved = line('qnnsim.load("net.bin")', lambda: qnnsim.load(file))
    y = line(f"y = p.predict(x)  # {len(x)} images", lambda: p.predict(x), lambda y: str(y.shape))
    assert np.array_equal(saved.predict(x), y)
    r = line("r = p.profile()", p.profile)
    assert r.layers.cycles.sum() == r.cycles.warm
    assert r.hw["mac.cols"] == 32
    maps = line("maps = p.trace(x[:1])", lambda: p.trace(x[:1]))
    assert all(0 <= m.bit_width <= 64 and m.values.shape[0] == 1 for m in maps.values())
    v = line("v = qnnsim.verify(model, p, x)", lambda: qnnsim.verify(module, p, x))
    assert v
    assert v.errors == 0
    w = line("w = p.explain()", p.explain)
    assert w.cycles == r.cycles
    s = line(
        's = qnnsim.sweep([p], {"mac.cols": [8, 16, 32]}, minimize=["energy", "cycles"])',
        lambda: qnnsim.sweep([p], {"mac.cols": [8, 16, 32]}, minimize=["energy", "cycles"]),
    )
    (row,) = s.points[s.points["mac.cols"] == 32].to_dict("records")
    assert (row["cycles"], row["energy_pj"]) == (r.cycles.warm, r.energy_pj.warm)
    line(
        's.report("sweep.html")',
        lambda: s.report(html),
        lambda _: f"{html.stat().st_size:,} bytes",
    )
    t = line("t = p.timeline()", p.timeline)
    line(
        't.to_perfetto("run.json")',
        lambda: t.to_perfetto(trace),
        lambda _: f"{trace.stat().st_size:,} bytes",
    )
    area = line(
        "qnnsim.HardwarePoint(mac_cols=32).area",
        lambda: qnnsim.HardwarePoint(mac_cols=32).area,
        lambda a: f"{a['lut']:,} LUT, {a['ff']:,} FF, {a['bram36']:g} BRAM, {a['dsp']} DSP",
    )
    assert area["lut"] == r.area["lut"]


def main() -> None:
    warnings.simplefilter("ignore")
    for kind in (networks.Residual, networks.Depthwise, networks.Waveform):
        module = networks.calibrated(kind)
        x = np.random.default_rng(1).normal(size=(200, *kind.shape)).astype(np.float32)
        print(f"{kind.__name__}: {kind.__doc__}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            tour(module, x, Path(folder))


if __name__ == "__main__":
    main()
