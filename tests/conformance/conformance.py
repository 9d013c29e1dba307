"""Operators against their other implementations: onnxruntime for ONNX's own, the qonnx executor for QONNX's.

    pip install -r tests/conformance/requirements.txt
    python3 tests/conformance/conformance.py target/release/qnnsim [--seed N]

Each case is a small network on random tensors: input quantizer, a dense layer, the operators in question, a dense
layer. Scales have few digits and weights few bits, so that every sum is exact in float32 and outputs must be equal.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_shapes import InferShapes

INPUTS, HIDDEN, OUTPUTS, IMAGES = 12, 8, 5, 64
QONNX = "qonnx.custom_op.general"
# Of the quantizer behind a function: of few digits, but no power of two, for where a function comes near a straight
# line its values would come near ties, which float32 cannot tell from ties.
STEP = 3 / 128


class Model:
    """A graph under construction; methods that add something give the name of its value."""

    def __init__(self, rng):
        self.rng, self.nodes, self.constants, self.qonnx = rng, [], [], False

    def constant(self, value, dtype=np.float32):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, op, *inputs, **attributes):
        name = f"v{len(self.nodes)}"
        domain = QONNX if op in ("Quant", "BipolarQuant", "Trunc", "MultiThreshold") else ""
        self.qonnx |= domain != ""
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, domain=domain, **attributes))
        return name

    def quant(self, x, scale, zero, bits, signed=1, narrow=0, mode="ROUND"):
        parameters = [self.constant(value) for value in (scale, zero, bits)]
        return self.node("Quant", x, *parameters, signed=signed, narrow=narrow, rounding_mode=mode)

    def linear(self, x, scale, zero, dtype, ends=None):
        """QuantizeLinear, Clip, DequantizeLinear."""
        parameters = [self.constant(scale), self.constant(zero, dtype)]
        x = self.node("QuantizeLinear", x, *parameters)
        if ends is not None:
            x = self.node("Clip", x, *(self.constant(end, dtype) for end in ends))
        return self.node("DequantizeLinear", x, *parameters)

    def weights(self, rows, columns):
        """Signed weights of three bits, a scale for each output, as integers."""
        integers = self.rng.integers(-4, 4, (rows, columns))
        raw = self.constant(integers, np.int8)
        scales = self.constant(2.0 ** self.rng.integers(-2, 1, columns))
        zeros = self.constant(np.zeros(columns), np.int8)
        return self.node("DequantizeLinear", raw, scales, zeros, axis=1)

    def proto(self, output):
        value = lambda name, size: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size])
        graph = helper.make_graph(self.nodes, "case", [value("x", INPUTS)], [value(output, OUTPUTS)], self.constants)
        # The first version of Trunc has five inputs.
        first = any(node.op_type == "Trunc" and len(node.input) == 5 for node in self.nodes)
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid(QONNX, 1 if first else 2)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def activations(rng):
    """Name and builder of what stands between the layers."""
    modes = ["ROUND", "HALF_EVEN", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN"]
    for mode in modes:
        zero, bits = int(rng.integers(-3, 4)), int(rng.integers(2, 7))
        yield f"Quant {mode}", lambda m, x: m.quant(x, 4.0, zero, bits, mode=mode)
        yield f"Trunc 1 {mode}", lambda m, x: m.node(
            "Trunc", m.node("Clip", x, m.constant(-112), m.constant(111)), *map(m.constant, (0.25, 0.0, 10.0, 4.0)),
            rounding_mode=mode)
        yield f"Trunc 2 {mode}", lambda m, x: m.node(
            "Trunc", x, *map(m.constant, (0.25, 0.0, 12.0, 8.0, 4.0)), rounding_mode=mode, signed=1, narrow=1)
    for bits in range(1, 9):
        yield f"unsigned {bits}", lambda m, x: m.quant(x, 2.0, 0.0, bits, signed=0)
        yield f"signed narrow {bits}", lambda m, x: m.quant(x, 2.0, 0.0, bits, narrow=1)
    yield "BipolarQuant", lambda m, x: m.node("BipolarQuant", x, m.constant(0.5))
    thresholds = np.sort(rng.integers(-40, 40, (HIDDEN, 15)), axis=1)
    yield "MultiThreshold", lambda m, x: m.node(
        "MultiThreshold", x, m.constant(thresholds), out_dtype="INT4", out_scale=0.5, out_bias=-4.0)
    yield "MultiThreshold bipolar", lambda m, x: m.node(
        "MultiThreshold", x, m.constant([[0.0]]), out_dtype="BIPOLAR", out_scale=2.0, out_bias=-1.0)
    for dtype in (np.int8, np.uint8):
        for zero in (0, 3, 100):
            yield f"QuantizeLinear {dtype.__name__} {zero}", lambda m, x: m.linear(x, 2.0, zero, dtype)
    yield "QCDQ 4 bits", lambda m, x: m.linear(x, 2.0, 0, np.int8, (-8, 7))
    yield "QCDQ unsigned 3 bits", lambda m, x: m.linear(x, 4.0, 1, np.uint8, (0, 7))
    functions = {
        "Relu": {}, "LeakyRelu": {"alpha": 0.25}, "Elu": {}, "Selu": {}, "Sigmoid": {}, "HardSigmoid": {"alpha": 0.25},
        "Tanh": {}, "Softplus": {}, "Softsign": {}, "Erf": {}, "Neg": {}, "Gelu": {}, "HardSwish": {}, "Mish": {},
    }
    near = lambda m, x: m.node("Mul", x, m.constant(0.0625))
    for op, attributes in functions.items():
        yield op, lambda m, x: m.linear(m.node(op, near(m, x), **attributes), STEP, 0, np.uint8)
    gelu = lambda m, x: m.node("Gelu", x, approximate="tanh")
    yield "Gelu tanh", lambda m, x: m.linear(gelu(m, near(m, x)), STEP, 0, np.uint8)

    def silu(m, x):
        x = near(m, x)
        return m.linear(m.node("Mul", x, m.node("Sigmoid", x)), STEP, 0, np.uint8)

    yield "SiLU", silu
    slopes = rng.integers(-2, 8, HIDDEN) / 8
    yield "PRelu", lambda m, x: m.linear(m.node("PRelu", x, m.constant(np.abs(slopes))), 1.0, 5, np.int8)
    yield "Clip", lambda m, x: m.linear(m.node("Clip", x, m.constant(-9), m.constant(20)), 0.25, 0, np.int8)


def expected(model, images):
    """What the other implementation gives."""
    if any(node.domain == QONNX for node in model.graph.node):
        wrapper = ModelWrapper(model).transform(InferShapes())
        name = model.graph.output[0].name
        return np.concatenate([execute_onnx(wrapper, {"x": image})[name] for image in images])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": image})[0] for image in images])


def found(binary, model, images, folder):
    """What the machine gives, and warnings; None if the model is refused."""
    onnx.save(model, folder / "model.onnx")
    np.save(folder / "images.npy", images)
    program, output = folder / "program.bin", folder / "real.npy"
    run = lambda *words: subprocess.run([binary, *map(str, words)], capture_output=True, text=True)
    done = run("compile", folder / "model.onnx", "-o", program)
    if done.returncode == 0:
        done = run("eval", program, "--images", folder / "images.npy", "--output", output)
    return (np.load(output), "") if done.returncode == 0 else (None, done.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, build in activations(rng):
            model = Model(rng)
            x = model.linear("x", 0.5, 7, np.int8)
            x = model.node("MatMul", x, model.weights(INPUTS, HIDDEN))
            x = build(model, x)
            x = model.node("MatMul", x, model.weights(HIDDEN, OUTPUTS))
            proto = model.proto(x)
            # Halves of a step are ties.
            images = (rng.integers(-80, 80, (IMAGES, 1, INPUTS)) / 4).astype(np.float32)
            result, error = found(arguments.binary, proto, images, pathlib.Path(folder))
            right = expected(proto, images)
            if result is None:
                failures += 1
                print(f"{name}: refused\n{error}")
            elif not np.array_equal(result, right):
                failures += 1
                print(f"{name}: {(result != right).sum()} of {right.size} values differ, by {np.abs(result - right).max()}")
            else:
                print(f"{name}: equal, {len(np.unique(right))} values")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
