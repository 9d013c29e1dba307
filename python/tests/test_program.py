"""Programs from files: values, figures, and the ways in and out."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from conftest import PROGRAMS, command, figures, quantizer_model

import qnnsim


def test_the_digits_are_classified(tcv, digits):
    assert tcv.predict(digits).argmax(1).tolist() == list(range(10))


def test_pixels_and_real_inputs_are_the_same_images(tcv, digits):
    real = digits.astype(np.float32) - 128
    assert np.array_equal(tcv.predict(real), tcv.predict(digits))
    assert np.array_equal(tcv.predict(real.astype(np.float64)), tcv.predict(digits))
    # However the values lie in memory.
    assert np.array_equal(tcv.predict(np.asfortranarray(digits)), tcv.predict(digits))
    assert np.array_equal(tcv.predict(digits[::-1])[::-1], tcv.predict(digits))
    # One image without its number, one channel without its 1.
    assert np.array_equal(tcv.predict(digits[3, 0])[0], tcv.predict(digits)[3])


def test_outputs_equal_the_command_line(tcv, digits, tmp_path):
    np.save(tmp_path / "x.npy", digits)
    words = ("eval", PROGRAMS / "tcv_w1a1.bin", "--images", tmp_path / "x.npy")
    done = command(*words, "--output", tmp_path / "y.npy", "--output-int", tmp_path / "i.npy")
    assert done.returncode == 0, done.stderr
    assert np.array_equal(tcv.predict(digits), np.load(tmp_path / "y.npy"))
    assert np.array_equal(tcv.predict(digits, integers=True), np.load(tmp_path / "i.npy"))


def test_golden_integers_of_mnist(tcv):
    import gzip
    import os
    from pathlib import Path

    if "QNNSIM_SHARED" not in os.environ:
        pytest.skip("QNNSIM_SHARED names no folder with MNIST and golden outputs")
    shared = Path(os.environ["QNNSIM_SHARED"])
    with gzip.open(shared / "mnist" / "t10k-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    golden = np.load(shared / "models" / "tcv_w1a1.t10k_int_logits.npy")
    assert np.array_equal(tcv.predict(images, integers=True), golden)


def test_a_map_is_what_the_formula_says():
    # x = k with scale 1, weights small integers with scale 1, output round(sum / 8) in 0..15.
    random = np.random.default_rng(5)
    weights = random.integers(-8, 8, (3, 2, 3, 3))
    program = qnnsim.compile(quantizer_model(weights, (1.0, 1.0, 8.0), pads=1))
    x = random.integers(-128, 128, (4, 2, 6, 6))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    sums = np.einsum("ncyxij,ocij->noyx", windows, weights)
    codes = np.clip(np.round(sums / 8), 0, 15).astype(np.int64)

    layer, last = program.trace(x.astype(np.float64)).values()
    assert np.array_equal(layer.values, codes)
    assert (layer.bit_width, layer.signed, layer.zero_point) == (4, False, 0)
    assert layer.scale == 8.0
    assert np.array_equal(layer.real, codes * 8.0)
    assert np.array_equal(last.values, codes.sum(1, keepdims=True))
    assert np.array_equal(program.predict(x.astype(np.float32)), 8.0 * last.values)


def test_a_program_file_runs_the_same(tcv, digits, tmp_path):
    tcv.save(tmp_path / "net.bin")
    assert not list(tmp_path.glob("*.part"))
    loaded = qnnsim.load(tmp_path / "net.bin")
    assert np.array_equal(loaded.predict(digits), tcv.predict(digits))
    assert loaded.profile().to_dict() == tcv.profile().to_dict()
    assert loaded.hw == tcv.hw
    assert loaded.input_shape == (1, 28, 28)
    # Integers are there, what they stand for is the model's.
    maps = loaded.trace(digits[:1])
    assert maps["conv1"].scale is None
    with pytest.raises(qnnsim.InvalidInput, match="compile the model in this process"):
        maps["conv1"].real  # noqa: B018 - a property


def test_the_profile_is_that_of_the_command_line(tcv):
    said = figures("run", PROGRAMS / "tcv_w1a1.bin")
    profile = tcv.profile()
    ours = json.loads(json.dumps(profile.to_dict()))
    assert {key: said[key] for key in ours} == ours
    # The figures that the README shows.
    assert profile.cycles == (5021, 1800)
    assert profile.layers.cycles.sum() == profile.cycles.warm
    assert profile.layers.energy_pj.sum() == pytest.approx(profile.energy_pj.warm)
    assert list(profile.layers.name) == ["fetch", "conv1", "conv2", "fc1", "out", "tail"]


def test_a_profile_takes_technology_and_clock(tcv):
    profile = tcv.profile(technology="22nm", clock_mhz=400)
    assert profile.hw["technology"] == "22nm"
    assert profile.latency_us.warm == pytest.approx(1800 / 400)
    with pytest.raises(qnnsim.InvalidHardware, match="no technology `7nm`"):
        tcv.profile(technology="7nm")


def test_what_is_shown_names_every_layer(tcv):
    for shown in (tcv.profile(), tcv.explain()):
        for layer in ("conv1", "conv2", "fc1", "out"):
            assert layer in repr(shown)
            assert layer in shown._repr_html_()


def test_names_are_escaped_where_they_meet_markup():
    weights = np.ones((1, 1, 1, 1), int)
    program = qnnsim.compile(quantizer_model(weights, (1.0, 1.0, 1.0)), name="<script>&")
    html = program.profile()._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;&amp;" in html


def test_explain_simulates_what_it_says(tcv):
    trials = tcv.explain().trials.set_index("parameter")
    wider = qnnsim.compile(tcv.model, hw={"mac.cols": 32}).profile()
    assert trials.loc["mac.cols", "cycles"] == wider.cycles.warm
    assert trials.loc["mac.cols", "energy_pj"] == wider.energy_pj.warm


def test_a_timeline_ends_with_the_image(tcv, tmp_path):
    timeline = tcv.timeline().to_frame()
    assert timeline.end.max() < 1800
    assert (timeline.start <= timeline.end).all()
    # The array's busy cycles are those of the report by unit.
    of_array = timeline[(timeline.track == "mac") & ~timeline.instruction.str.startswith("cfg")]
    units = tcv.profile().units.set_index("name")
    assert of_array.busy.sum() == units.loc["mac", "busy"]
    tcv.timeline(cold=True).to_perfetto(tmp_path / "run.json")
    events = json.loads((tmp_path / "run.json").read_text())["traceEvents"]
    assert sum(event["ph"] == "X" for event in events) == len(tcv.timeline(cold=True))


def test_verify_compares_three_ways(tcv, digits):
    verification = qnnsim.verify(PROGRAMS / "tcv_w1a1.onnx", tcv, digits)
    assert verification
    assert (verification.errors, verification.images) == (0, 10)
    assert list(verification.maps.name) == ["input", "conv1", "conv2", "fc1", "out"]
    # 10 images of 28 x 28.
    assert verification.maps["values"][0] == 7840
    with pytest.raises(qnnsim.InvalidInput, match="is not made from"):
        qnnsim.verify(PROGRAMS / "tcv_w8a8.onnx", tcv, digits)


def test_a_sweep_has_the_figures_of_each_point(tcv):
    sweep = qnnsim.sweep(
        tcv, {"mac.cols": [8, 16], "mac.rows": [8, 16]}, minimize=["cycles", "lut"]
    )
    points = sweep.points
    assert len(points) == 4
    for row in points.itertuples():
        hw = sweep.point(row.index)
        profile = qnnsim.compile(tcv.model, hw=hw).profile()
        assert (row.cycles, row.energy_pj) == (profile.cycles.warm, profile.energy_pj.warm)
        assert row.lut == hw.area["lut"]
    front = sweep.front
    worse = points.merge(front, how="cross")
    dominated = (worse.cycles_y <= worse.cycles_x) & (worse.lut_y < worse.lut_x)
    assert set(points["index"]) - set(front["index"]) <= set(worse[dominated].index_x)
    assert sweep.best("lut").area["lut"] == points.lut.min()
    assert "<html" in sweep.report()


def test_a_sweep_takes_several_models_ties_and_constraints(tcv):
    models = {"one": tcv, "eight": PROGRAMS / "tcv_w8a8.onnx"}
    sweep = qnnsim.sweep(
        models,
        {"mac.cols": [8, 16, 32], "mac.rows": [4, 16]},
        tied={"thr.cols": "mac.cols / 4"},
        constraints=["mac.rows * mac.cols <= 256"],
        minimize=["energy", "cycles"],
    )
    points = sweep.points
    # Of 3 x 2 points each, 16 x 32 is too large.
    assert points.source.value_counts().to_dict() == {"one": 5, "eight": 5}
    assert (points["thr.cols"] * 4 == points["mac.cols"]).all()


def test_hardware_points(tmp_path):
    point = qnnsim.HardwarePoint(mac_cols=32)
    assert (point.mac_cols, point.mac_rows, point.thr_cols) == (32, 16, 16)
    assert point == qnnsim.HardwarePoint({"mac.cols": np.int64(32)})
    assert point == qnnsim.HardwarePoint({"mac": {"cols": 32}})
    assert qnnsim.HardwarePoint(point, mac_rows=8).values == {**point.values, "mac.rows": 8}
    (tmp_path / "point.ron").write_text("(mac: (cols: 32))")
    assert qnnsim.HardwarePoint(tmp_path / "point.ron") == point
    assert pickle.loads(pickle.dumps(point)) == point
    said = figures("hw", "--set", "mac.cols=32")
    assert said["area"]["lut"] == point.area["lut"]
    # 16 banks of 512 words of 64 bits and so on: bytes are banks x words x bits / 8.
    for memory in point.memories.values():
        assert memory["bytes"] * 8 == memory["banks"] * memory["words"] * memory["word_bits"]


def test_the_command_line_is_inside():
    assert qnnsim.__version__ in command("--version").stdout
    done = command("run", "nothing.bin")
    assert done.returncode == 2
    assert "cannot read `nothing.bin`" in done.stderr
