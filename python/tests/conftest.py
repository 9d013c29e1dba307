"""Models, images and the installed command line for the tests."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest

import qnnsim

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "programs"


@pytest.fixture(scope="session")
def tcv() -> qnnsim.Program:
    """TCV_W1A1, which was trained on pixel - 128, for the default point."""
    return qnnsim.compile(PROGRAMS / "tcv_w1a1.onnx", pixel_offset=-128)


@pytest.fixture(scope="session")
def digits() -> np.ndarray:
    """The ten drawn digits, 0 to 9 in order: uint8 of [10, 1, 28, 28]."""
    image = pytest.importorskip("PIL.Image")
    files = [PROGRAMS / "digits" / f"digit_{n}.png" for n in range(10)]
    return np.stack([np.asarray(image.open(f), np.uint8) for f in files])[:, None]


def command(*words: object) -> subprocess.CompletedProcess[str]:
    """Runs the command line that the package has installed."""
    name = "qnnsim.exe" if os.name == "nt" else "qnnsim"
    path = Path(sysconfig.get_path("scripts")) / name
    return subprocess.run([path, *map(str, words)], capture_output=True, text=True)


def figures(*words: object) -> dict:
    """What a command says with ``--format json``."""
    done = command(*words, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def quantizer_model(
    weights: np.ndarray, scales: tuple[float, float, float], pads: int = 0
) -> bytes:
    """QONNX: an 8-bit signed input, a convolution with 4-bit weights and 4-bit unsigned codes, and
    behind them the sum of all channels.

    `scales` are those of input, weights and codes.
    """
    pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    outputs, channels, height, width = weights.shape

    def constant(name: str, value: object) -> object:
        return numpy_helper.from_array(np.asarray(value, np.float32), name)

    def quant(data: str, name: str, scale: str, bits: str, signed: int) -> object:
        return helper.make_node(
            "Quant",
            [data, scale, "zero", bits],
            [name],
            name=name,
            domain="qonnx.custom_op.general",
            signed=signed,
            narrow=0,
            rounding_mode="ROUND",
        )

    nodes = [
        quant("x", "x_q", "x_scale", "eight", 1),
        quant("w", "w_q", "w_scale", "four", 1),
        helper.make_node("Conv", ["x_q", "w_q"], ["sum"], name="conv", pads=[pads] * 4),
        quant("sum", "y", "y_scale", "four", 0),
        quant("ones", "ones_q", "one", "four", 1),
        helper.make_node("Conv", ["y", "ones_q"], ["all"], name="all"),
    ]
    initializers = [
        constant("w", weights * scales[1]),
        constant("ones", np.ones((1, outputs, 1, 1))),
        constant("one", 1),
        constant("zero", 0),
        constant("eight", 8),
        constant("four", 4),
        *(constant(f"{n}_scale", s) for n, s in zip("xwy", scales)),
    ]
    size = 6 + 2 * pads
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, 6, 6])],
        [
            helper.make_tensor_value_info(
                "all", TensorProto.FLOAT, [1, 1, size - height + 1, size - width + 1]
            )
        ],
        initializers,
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("qonnx.custom_op.general", 2)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 9
    return model.SerializeToString()
