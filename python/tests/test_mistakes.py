"""What a user is told: the whole text, in an exception of a type of its own."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from conftest import PROGRAMS, command, quantizer_model

import qnnsim


def test_a_wrong_shape(tcv, tmp_path):
    with pytest.raises(qnnsim.InvalidInput) as caught:
        tcv.predict(np.zeros((4, 3, 32, 32), np.float32))
    assert str(caught.value) == (
        "the array holds real values [4, 3, 32, 32], but the model's input is [1, 28, 28] for one"
        " image\n  help: give arrays of [N, 1, 28, 28], or images of 28 x 28"
    )
    # The command line says the same of a file.
    np.save(tmp_path / "x.npy", np.zeros((4, 3, 32, 32), np.float32))
    words = ("eval", PROGRAMS / "tcv_w1a1.bin", "--images", tmp_path / "x.npy")
    said = " ".join(command(*words).stderr.split())
    assert " ".join(str(caught.value).partition(", ")[2].split()).split("help")[0] in said


def test_a_wrong_dtype(tcv):
    with pytest.raises(qnnsim.InvalidInput) as caught:
        tcv.predict(np.zeros((1, 1, 28, 28), np.int64))
    text = str(caught.value)
    assert text == (
        "the array holds int64 [1, 1, 28, 28], which are no images\n"
        "  help: give uint8 pixels, or float32 or float64 real inputs"
    )


def test_values_that_are_no_numbers(tcv):
    x = np.zeros((2, 1, 28, 28))
    x[1, 0, 0, 3] = np.nan
    with pytest.raises(qnnsim.InvalidInput, match="value 3 of image 1 is not a number"):
        tcv.predict(x)


def test_an_unknown_parameter():
    with pytest.raises(qnnsim.InvalidHardware) as caught:
        qnnsim.compile(PROGRAMS / "tcv_w1a1.onnx", hw={"mac.colz": 32})
    said = "unknown hardware parameter `mac.colz`; did you mean `mac.cols`?"
    assert str(caught.value).startswith(said)
    # The command line says the same.
    assert said in command("hw", "--set", "mac.colz=32").stderr


def test_a_point_without_room():
    with pytest.raises(qnnsim.DoesNotFit) as caught:
        qnnsim.compile(PROGRAMS / "tcv_w1a1.onnx", hw={"act.words": 16})
    done = command("compile", PROGRAMS / "tcv_w1a1.onnx", "--set", "act.words=16", "-o", "no.bin")
    assert str(caught.value).partition(": ")[2].splitlines()[0] in done.stderr


def test_a_network_that_is_not_quantized():
    pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.full((3, 4), 0.3, np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["y"], name="dense", transB=1)],
        "float",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    with pytest.raises(qnnsim.UnsupportedModel) as caught:
        qnnsim.compile(model)
    assert "dense" in str(caught.value)
    assert "dense" in caught.value.nodes


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("pandas", lambda tcv: tcv.profile().layers),
        ("matplotlib.pyplot", lambda tcv: tcv.timeline().plot()),
    ],
)
def test_a_package_that_is_missing(tcv, monkeypatch, package, call):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(qnnsim.MissingPackage) as caught:
        call(tcv)
    assert f"pip install {package.partition('.')[0]}" in str(caught.value)
    assert isinstance(caught.value, ImportError)


def test_files_that_are_none(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"nothing of the kind")
    with pytest.raises(qnnsim.MalformedProgram, match="not a qnnsim program"):
        qnnsim.load(tmp_path / "x.bin")
    with pytest.raises(qnnsim.UnsupportedModel):
        qnnsim.compile(tmp_path / "x.bin")
    with pytest.raises(FileNotFoundError):
        qnnsim.load(tmp_path / "nothing.bin")
    with pytest.raises(qnnsim.InvalidInput, match="a model is a torch module, the path"):
        qnnsim.compile(42)


def test_mistakes_in_a_sweep(tcv):
    with pytest.raises(qnnsim.InvalidInput, match="`lutz` is not an objective; did you mean `lut`"):
        qnnsim.sweep(tcv, {"mac.cols": [8]}, minimize=["lutz"])
    with pytest.raises(qnnsim.InvalidInput, match="did you mean `mac.cols`"):
        qnnsim.sweep(tcv, {"mac.colz": [8]})
    with pytest.raises(qnnsim.InvalidInput, match="8 is there twice"):
        qnnsim.sweep(tcv, {"mac.cols": [8, 8]})
    tcv_file = qnnsim.load(PROGRAMS / "tcv_w1a1.bin")
    with pytest.raises(qnnsim.InvalidInput, match="compiled already"):
        qnnsim.sweep(tcv_file, {"mac.cols": [8]})


def test_a_warning_names_what_may_not_be_meant():
    weights = np.ones((1, 1, 1, 1), int)
    with pytest.warns(
        qnnsim.ModelWarning, match="the input quantizer clips pixels from 128 to 255"
    ):
        qnnsim.compile(quantizer_model(weights, (1.0, 1.0, 1.0)))
