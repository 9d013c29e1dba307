"""Operators against their other implementations: onnxruntime for ONNX's own, the qonnx executor for QONNX's.

    pip install -r tests/conformance/requirements.txt
    python3 tests/conformance/conformance.py target/release/qnnsim [--seed N] [--only TEXT]

Each case is a small network on random tensors. Quantizers and functions stand between two dense layers. Layers stand
behind the input's quantizer; their results are the output, or are quantized and go into a dense layer. Scales have few
digits and weights few bits, so that every sum is exact in float32 and outputs must be equal.
"""

import argparse
import itertools
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
MICROSOFT = "com.microsoft"
# The last operator set that the compiler reads.
LAST_OPSET = 25
# Of the quantizer behind a function: of few digits, but no power of two, for where a function comes near a straight
# line its values would come near ties, which float32 cannot tell from ties.
STEP = 3 / 128


class Model:
    """A graph under construction; methods that add something give the name of its value."""

    def __init__(self, rng):
        self.rng, self.nodes, self.constants, self.qonnx, self.opset = rng, [], [], False, 20
        self.options = []

    def constant(self, value, dtype=np.float32):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, op, *inputs, outputs=1, **attributes):
        name = f"v{len(self.nodes)}"
        names = [name, *(f"{name}.{i}" for i in range(1, outputs))]
        domain = QONNX if op in ("Quant", "BipolarQuant", "Trunc", "MultiThreshold") else ""
        self.qonnx |= domain != ""
        if op in ("QGemm", "QLinearAdd", "QLinearMul", "QLinearGlobalAveragePool", "QLinearSigmoid", "QLinearConcat"):
            domain = MICROSOFT
        self.nodes.append(helper.make_node(op, list(inputs), names, name=name, domain=domain, **attributes))
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

    def weights(self, *shape, axis=1):
        """Signed weights of three bits, a scale for each output, as integers."""
        raw = self.constant(self.rng.integers(-4, 4, shape), np.int8)
        if self.opset < 13:
            # Before, there is one scale for all.
            return self.node("DequantizeLinear", raw, self.constant(0.25), self.constant(0, np.int8))
        scales = self.constant(2.0 ** self.rng.integers(-2, 1, shape[axis]))
        zeros = self.constant(np.zeros(shape[axis]), np.int8)
        return self.node("DequantizeLinear", raw, scales, zeros, axis=axis)

    def numbers(self, *shape):
        """Random constants of few digits."""
        return self.constant(self.rng.integers(-12, 13, shape) / 4)

    def integers(self, *values):
        return self.constant(values, np.int64)

    def shape(self, name, shape):
        """The shape of a value, for an input of this shape."""
        value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, "part", [value("x", shape)], [value(name, None)], self.constants)
        part = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)
        sizes = onnx.shape_inference.infer_shapes(part, data_prop=True).graph.output[0].type.tensor_type.shape.dim
        return [size.dim_value for size in sizes]

    def evaluate(self, name):
        """The constant that a value is, by onnxruntime."""
        info = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "part", [], [info], self.constants)
        part = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return session.run(None, {})[0]

    def proto(self, output, shape):
        """The model with this output, or with several."""
        value = lambda name, shape, kind=TensorProto.FLOAT: helper.make_tensor_value_info(name, kind, shape)
        makers = {name: node for node in self.nodes for name in node.output}
        integers = lambda name: makers[name].op_type == "ArgMax" or (
            makers[name].op_type == "TopK" and makers[name].output[1] == name)
        outputs = [
            value(name, [1, OUTPUTS] if self.qonnx else None, TensorProto.INT64 if integers(name) else TensorProto.FLOAT)
            for name in ([output] if isinstance(output, str) else output)]
        graph = helper.make_graph(self.nodes, "case", [value("x", shape)], outputs, self.constants)
        # The first version of Trunc has five inputs.
        first = any(node.op_type == "Trunc" and len(node.input) == 5 for node in self.nodes)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(QONNX, 1 if first else 2),
                  helper.make_opsetid(MICROSOFT, 1)]
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
        if op in ("Gelu", "HardSwish", "Mish"):
            # Fine enough to see that they fall first.
            yield f"{op} signed", lambda m, x: m.linear(m.node(op, near(m, x)), STEP, 0, np.int8)
    gelu = lambda m, x: m.node("Gelu", x, approximate="tanh")
    yield "Gelu tanh", lambda m, x: m.linear(gelu(m, near(m, x)), STEP, 0, np.uint8)

    def silu(m, x):
        x = near(m, x)
        return m.linear(m.node("Mul", x, m.node("Sigmoid", x)), STEP, 0, np.uint8)

    yield "SiLU", silu
    slopes = rng.integers(-2, 8, HIDDEN) / 8
    yield "PRelu", lambda m, x: m.linear(m.node("PRelu", x, m.constant(np.abs(slopes))), 1.0, 5, np.int8)
    yield "Clip", lambda m, x: m.linear(m.node("Clip", x, m.constant(-9), m.constant(20)), 0.25, 0, np.int8)


def layers(rng):
    """Name, input shape and builder of what stands behind the input's quantizer, and whether its result is quantized."""
    conv = lambda m, x, *shape, **attributes: m.node("Conv", x, m.weights(*shape, axis=0), **attributes)
    maps = (1, 4, 6, 8)
    both = (False, True)
    for quantized in both:
        for name, shape, attributes in [
            ("plain", (3, 4, 3, 3), {}),
            ("1x1", (3, 4, 1, 1), {}),
            ("strides", (3, 4, 3, 2), {"strides": [2, 3]}),
            ("dilations", (3, 4, 3, 3), {"dilations": [2, 3]}),
            ("asymmetric pads", (3, 4, 3, 3), {"pads": [2, 0, 1, 3]}),
            ("pads, strides, dilations", (3, 4, 2, 3), {"pads": [1, 2, 0, 1], "strides": [2, 2], "dilations": [3, 2]}),
            ("SAME_UPPER", (3, 4, 3, 4), {"auto_pad": "SAME_UPPER", "strides": [2, 1]}),
            ("SAME_LOWER", (3, 4, 4, 3), {"auto_pad": "SAME_LOWER", "strides": [1, 2]}),
            ("VALID", (3, 4, 2, 2), {"auto_pad": "VALID"}),
            ("groups", (6, 2, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}),
            ("depthwise", (4, 1, 3, 3), {"group": 4}),
            ("depthwise, two outputs each", (8, 1, 2, 2), {"group": 4, "strides": [2, 2]}),
        ]:
            yield f"Conv {name}", maps, lambda m, x: conv(m, x, *shape, **attributes), quantized
            bias = lambda m: m.numbers(shape[0])
            yield f"Conv {name}, bias", maps, lambda m, x: m.node(
                "Conv", x, m.weights(*shape, axis=0), bias(m), **attributes), quantized
        for name, shape, attributes in [
            ("plain", (3, 4, 3), {}),
            ("strides, pads", (3, 4, 4), {"strides": [2], "pads": [2, 1]}),
            ("dilations", (3, 4, 3), {"dilations": [3]}),
            ("groups", (4, 2, 3), {"group": 2, "auto_pad": "SAME_UPPER"}),
        ]:
            yield f"Conv 1-D {name}", (1, 4, 12), lambda m, x: conv(m, x, *shape, **attributes), quantized
        # Sizes are multiples of the stride.
        for name, shape, attributes in [
            ("stride 1", (4, 3, 3, 3), {"pads": [1, 0, 1, 2]}),
            ("stride 1, dilations", (4, 3, 3, 2), {"dilations": [2, 3]}),
            ("stride 2", (4, 3, 2, 2), {"strides": [2, 2]}),
            ("stride 2, kernel 3", (4, 3, 3, 3), {"strides": [2, 2], "pads": [1] * 4, "output_padding": [1, 1]}),
            ("stride 2, kernel 4", (4, 3, 4, 4), {"strides": [2, 2], "pads": [1] * 4}),
            ("stride 2 x 3, kernel 1", (4, 3, 1, 1), {"strides": [2, 3], "output_padding": [1, 2]}),
            ("stride 2 x 3, dilations", (4, 3, 2, 3),
             {"strides": [2, 3], "dilations": [3, 2], "pads": [1, 1, 1, 1]}),
            ("output_shape", (4, 3, 3, 3), {"strides": [2, 2], "output_shape": [12, 16]}),
            ("SAME_UPPER", (4, 3, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
            ("SAME_LOWER", (4, 3, 3, 4), {"strides": [2, 3], "auto_pad": "SAME_LOWER"}),
            ("groups", (4, 2, 2, 2), {"strides": [2, 2], "group": 2}),
            ("depthwise", (4, 1, 4, 4), {"strides": [2, 2], "pads": [1] * 4, "group": 4}),
        ]:
            # Scales of the outputs are those of one group.
            transposed = lambda m, x, *more: m.node("ConvTranspose", x, m.weights(*shape), *more, **attributes)
            yield f"ConvTranspose {name}", maps, lambda m, x: transposed(m, x), quantized
            outputs = shape[1] * attributes.get("group", 1)
            yield f"ConvTranspose {name}, bias", maps, lambda m, x: transposed(m, x, m.numbers(outputs)), quantized
        yield "ConvTranspose 1-D", (1, 4, 7), lambda m, x: m.node(
            "ConvTranspose", x, m.weights(4, 3, 4), strides=[2], pads=[1, 1]), quantized

        yield "MatMul tokens", (1, 4, 7), lambda m, x: m.node(
            "MatMul", m.node("Transpose", x, perm=[0, 2, 1]), m.weights(4, 3)), quantized
        yield "MatMul tokens, bias", (1, 4, 7), lambda m, x: m.node(
            "Add", m.node("MatMul", m.node("Transpose", x, perm=[0, 2, 1]), m.weights(4, 3)), m.numbers(3)), quantized
        yield "MatMul columns", maps, lambda m, x: m.node("MatMul", x, m.weights(8, 5)), quantized
        yield "MatMul rows, weights first", maps, lambda m, x: m.node("MatMul", m.weights(5, 6, axis=0), x), quantized
        yield "MatMul 3-D weights", (1, 4, 7), lambda m, x: m.node("MatMul", x, m.weights(1, 7, 2, axis=2)), quantized
        yield "MatMul channels, weights first", (1, 4, 7), lambda m, x: m.node(
            "MatMul", m.weights(3, 4, axis=0), x), quantized
        for a, b in [(0, 0), (0, 1), (1, 0), (1, 1)]:
            weights = lambda m: m.weights(5, 12, axis=0) if b else m.weights(12, 5)
            data = lambda m, x: m.node("Reshape", x, m.integers(12, 1)) if a else x
            gemm = lambda m, x, *more: m.node("Gemm", data(m, x), weights(m), *more, transA=a, transB=b)
            yield f"Gemm transA={a} transB={b}", (1, 12), lambda m, x: gemm(m, x), quantized
            yield f"Gemm transA={a} transB={b}, bias", (1, 12), lambda m, x: gemm(m, x, m.numbers(5)), quantized
            weights_first = lambda m: m.weights(12, 5) if a else m.weights(5, 12, axis=0)
            column = lambda m, x: x if b else m.node("Reshape", x, m.integers(12, 1))
            yield f"Gemm weights first, transA={a} transB={b}", (1, 12), lambda m, x: m.node(
                "Gemm", weights_first(m), column(m, x), m.numbers(5, 1), transA=a, transB=b, alpha=0.5,
                beta=2.0), quantized

        yield "GlobalAveragePool", (1, 4, 4, 8), lambda m, x: m.node("GlobalAveragePool", x), quantized
        yield "ReduceMean", (1, 4, 4, 8), lambda m, x: m.node("ReduceMean", x, m.integers(2, 3), keepdims=0), quantized
        yield "ReduceMean rows", (1, 4, 4, 5), lambda m, x: m.node("ReduceMean", x, m.integers(2), keepdims=1), quantized
        yield "ReduceMean channels", maps, lambda m, x: m.node("ReduceMean", x, m.integers(1)), quantized
        yield "AveragePool", maps, lambda m, x: m.node("AveragePool", x, kernel_shape=[2, 4], strides=[1, 2]), quantized
        yield "AveragePool padded", maps, lambda m, x: m.node(
            "AveragePool", x, kernel_shape=[2, 2], pads=[1, 0, 1, 1], count_include_pad=1), quantized
        yield "BatchNormalization", maps, lambda m, x: m.node(
            "BatchNormalization", conv(m, x, 3, 4, 1, 1), m.numbers(3), m.numbers(3), m.numbers(3),
            m.constant([0.25, 1.0, 4.0]), epsilon=0.0), quantized
        yield "Slice", maps, lambda m, x: conv(m, m.node(
            "Slice", x, m.integers(1, 1, -6), m.integers(9, 6, 8), m.integers(1, 2, 3), m.integers(2, 2, 1)),
            3, 2, 2, 2), quantized
        yield "Pad", maps, lambda m, x: conv(m, m.node("Pad", x, m.integers(0, 0, 1, 2, 0, 0, 0, -1)), 3, 4, 3, 3), quantized
        yield "channel shuffle", maps, lambda m, x: conv(m, m.node("Reshape", m.node("Transpose", m.node(
            "Reshape", x, m.integers(1, 2, 2, 6, 8)), perm=[0, 2, 1, 3, 4]), m.integers(1, 4, 6, 8)),
            4, 2, 3, 3, group=2), quantized
        yield "channels last", maps, lambda m, x: m.node(
            "MatMul", m.node("Transpose", x, perm=[0, 2, 3, 1]), m.weights(4, 3)), quantized
        for mode in ("DCR", "CRD"):
            yield f"DepthToSpace {mode}", maps, lambda m, x: conv(
                m, m.node("DepthToSpace", x, blocksize=2, mode=mode), 3, 1, 3, 3, pads=[1] * 4), quantized
        yield "SpaceToDepth", maps, lambda m, x: conv(m, m.node("SpaceToDepth", x, blocksize=2), 3, 16, 3, 3), quantized

        def add(m, x):
            a, b = (m.linear(conv(m, x, 4, 4, 1, 1), scale, zero, np.int8) for scale, zero in ((4.0, 0), (2.0, 3)))
            return conv(m, m.node("Add", m.node("Add", a, b), x), 3, 4, 3, 3)

        def concat(m, x):
            a, b = (m.linear(conv(m, x, 2, 4, 1, 1), 4.0, zero, np.int8) for zero in (0, 3))
            return conv(m, m.node("Concat", a, b, axis=1), 3, 4, 3, 3)

        def concat_scales(m, x):
            a = m.linear(conv(m, x, 2, 4, 1, 1), 4.0, 3, np.int8)
            return conv(m, m.node("Concat", x, a, axis=1), 12, 1, 3, 3, group=6)

        def split(m, x):
            part = m.node("Split", x, m.integers(1, 3), axis=1)
            m.nodes[-1].output.append(part + ".rest")
            a, b = conv(m, part, 3, 1, 2, 2), conv(m, part + ".rest", 3, 3, 2, 2)
            a, b = (m.linear(value, 4.0, 0, np.int8) for value in (a, b))
            return m.node("Sub", a, b)

        yield "Add of maps", maps, add, quantized
        yield "Concat", maps, concat, quantized
        yield "Concat of different scales, depthwise", maps, concat_scales, quantized
        yield "Split, Sub", maps, split, quantized
        resizes = {
            "defaults": {},
            "asymmetric, floor": {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
            "pytorch_half_pixel": {"coordinate_transformation_mode": "pytorch_half_pixel", "nearest_mode": "round_prefer_ceil"},
        }
        for name, attributes in resizes.items():
            scaled = lambda m, x: m.node("Resize", x, "", m.constant([1, 1, 2, 3]), **attributes)
            sized = lambda m, x: m.node("Resize", x, "", "", m.integers(1, 4, 12, 16), **attributes)
            yield f"Resize {name}", maps, scaled, quantized
            yield f"Resize {name}, Conv", maps, lambda m, x: conv(m, scaled(m, x), 3, 4, 3, 3, pads=[1] * 4), quantized
            yield f"Resize {name} by size, Conv of stride 2", maps, lambda m, x: conv(
                m, sized(m, x), 3, 4, 3, 3, pads=[1] * 4, strides=[2, 2]), quantized

        def autoencoder(m, x):
            code = m.linear(conv(m, x, 5, 4, 3, 3, strides=[2, 2], pads=[1] * 4), 4.0, 0, np.uint8)
            x2 = m.node("ConvTranspose", code, m.weights(5, 4, 4, 4), strides=[2, 2], pads=[1] * 4)
            x2 = m.node("Add", m.linear(x2, 8.0, 0, np.int8), m.linear(conv(m, x, 4, 4, 1, 1), 8.0, 0, np.int8))
            return conv(m, x2, 2, 4, 3, 3, pads=[1] * 4)

        yield "autoencoder with a skip connection", maps, autoencoder, quantized
    for name, attributes in [
        ("plain", {"kernel_shape": [2, 3]}),
        ("strides, pads", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("ceil_mode", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
        ("ceil_mode, pads", {"kernel_shape": [3, 2], "strides": [2, 3], "pads": [0, 1, 1, 0], "ceil_mode": 1}),
        ("SAME_UPPER", {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
        ("SAME_LOWER", {"kernel_shape": [2, 2], "strides": [1, 1], "auto_pad": "SAME_LOWER"}),
    ]:
        yield f"MaxPool {name}", maps, lambda m, x: m.node("MaxPool", conv(m, x, 3, 4, 1, 1), **attributes), True
    # Thirds are no binary fractions, but ninths are never ties.
    yield "AveragePool 3 x 3", maps, lambda m, x: m.node("AveragePool", x, kernel_shape=[3, 3]), True
    yield "AveragePool at borders", maps, lambda m, x: m.node("AveragePool", x, kernel_shape=[3, 3], pads=[1] * 4), True
    # Every combination of what decides where windows lie and what they count.
    for ceil, counted, dilated, padded in itertools.product((0, 1), repeat=4):
        attributes = dict(kernel_shape=[2, 2], strides=[3, 2], ceil_mode=ceil, pads=[0, 1, 1, 0] if padded else [0] * 4)
        name = f"ceil_mode={ceil} dilations={1 + dilated} pads={padded}"
        if not dilated:
            yield f"MaxPool {name}", maps, lambda m, x, a=attributes: m.node("MaxPool", x, **a), True
        a = dict(attributes, count_include_pad=counted, dilations=[1 + dilated, 1])
        yield f"AveragePool {name} count_include_pad={counted}", maps, lambda m, x, a=a: m.node("AveragePool", x, **a), True
    yield "Flatten", maps, lambda m, x: m.node("MatMul", m.node("Flatten", x), m.weights(192, 5)), False
    yield "Flatten of columns first", maps, lambda m, x: m.node(
        "MatMul", m.node("Flatten", m.node("Transpose", x, perm=[0, 3, 2, 1])), m.weights(192, 5)), False
    yield "Reshape", maps, lambda m, x: m.node("MatMul", m.node("Reshape", x, m.integers(0, -1)), m.weights(192, 5)), False
    yield "Softmax", (1, 12), lambda m, x: m.node("Softmax", m.node("MatMul", x, m.weights(12, 5)), axis=1), False
    yield "Softmax of pixels", maps, lambda m, x: m.node("Softmax", conv(m, x, 3, 4, 1, 1), axis=1), False
    yield "Softmax of upsampled pixels", maps, lambda m, x: m.node("Softmax", m.node(
        "ConvTranspose", x, m.weights(4, 3, 2, 2), strides=[2, 2]), axis=1), False
    yield "ArgMax", (1, 12), lambda m, x: m.node("ArgMax", m.node("MatMul", x, m.weights(12, 5)), axis=1), False


def forms(rng):
    """Name, input shape and builder of whole models in the forms that tools write."""
    maps = (1, 4, 6, 8)
    grid = lambda m, *shape: m.constant(rng.integers(-7, 8, shape) / 16)

    def ends(m, x):
        """QuantizeLinear of the input and its parameters."""
        parameters = [m.constant(0.5), m.constant(7, np.int8)]
        return [m.node("QuantizeLinear", x, *parameters), *parameters]

    def head(m, x, *parameters):
        return m.node("DequantizeLinear", x, *parameters)

    def conv(m):
        y = [m.constant(8.0), m.constant(3, np.int8)]
        weights = [m.constant(rng.integers(-7, 8, (5, 4, 3, 3)), np.int8), m.constant(2.0 ** rng.integers(-2, 1, 5)),
                   m.constant(np.zeros(5), np.int8)]
        bias = m.constant(rng.integers(-99, 99, 5), np.int32)
        x = m.node("QLinearConv", *ends(m, "x"), *weights, *y, bias, pads=[1] * 4, strides=[2, 1])
        return head(m, x, *y)

    yield "QLinearConv", maps, conv

    def matmul(m):
        y = [m.constant(4.0), m.constant(-3, np.int8)]
        weights = [m.constant(rng.integers(-7, 8, (INPUTS, 5)), np.int8), m.constant(0.25), m.constant(0, np.int8)]
        return head(m, m.node("QLinearMatMul", *ends(m, "x"), *weights, *y), *y)

    yield "QLinearMatMul", (1, INPUTS), matmul

    def conv_integer(m):
        x, _, zero = ends(m, "x")
        sums = m.node("ConvInteger", x, m.constant(rng.integers(-7, 8, (3, 4, 2, 2)), np.int8), zero)
        return m.node("Mul", m.node("Cast", sums, to=TensorProto.FLOAT), m.constant(0.25))

    yield "ConvInteger", maps, conv_integer

    def matmul_integer(m):
        x, _, zero = ends(m, "x")
        sums = m.node("MatMulInteger", x, m.constant(rng.integers(-7, 8, (INPUTS, 5)), np.int8), zero)
        return m.node("Mul", m.node("Cast", sums, to=TensorProto.FLOAT), m.constant(0.25))

    yield "MatMulInteger", (1, INPUTS), matmul_integer

    def written(m, scale, zero, low, high, order):
        x = m.linear("x", 0.5, 7, np.int8)
        x = m.node("Conv", x, grid(m, 5, 4, 3, 3), m.numbers(5))
        x = m.node("Add", m.node("Div", x, m.constant(scale)), m.constant(zero))
        ends = m.constant(low), m.constant(high)
        x = m.node("Round", m.node("Clip", x, *ends)) if order else m.node("Clip", m.node("Round", x), *ends)
        x = m.node("Mul", m.node("Sub", x, m.constant(zero)), m.constant(scale))
        return m.node("Conv", x, grid(m, 3, 5, 3, 3))

    for order in (0, 1):
        yield f"quantizer written out {order}", maps, lambda m: written(m, 2.0, 0.0, -8.0, 7.0, order)
        yield f"quantizer written out, zero point {order}", maps, lambda m: written(m, 2.0, 3.0, 0.0, 15.0, order)
        yield f"quantizer written out, odd ends {order}", maps, lambda m: written(m, 2.0, 3.0, -5.0, 77.0, order)

    def input_written(m):
        x = m.node("Round", m.node("Mul", "x", m.constant(2.0)))
        x = m.node("Mul", m.node("Clip", x, m.constant(-128.0), m.constant(127.0)), m.constant(0.5))
        return m.node("Conv", x, grid(m, 3, 4, 3, 3))

    yield "quantizer of the input written out", maps, input_written
    yield "weights without quantizer", maps, lambda m: m.node(
        "Conv", m.linear("x", 0.5, 7, np.int8), grid(m, 3, 4, 3, 3), m.numbers(3))
    yield "signs as weights", (1, INPUTS), lambda m: m.node(
        "MatMul", m.linear("x", 0.5, 7, np.int8), m.constant(rng.choice([-0.5, 0.5], (INPUTS, 5))))

    def quantized(m, x):
        return m.node("Conv", m.linear(x, 2.0, 3, np.int8), m.weights(3, 4, 1, 1, axis=0))

    sums = lambda m: m.node("Conv", m.linear("x", 0.5, 7, np.int8), m.weights(4, 4, 3, 3, axis=0))
    yield "Abs", maps, lambda m: quantized(m, m.node("Abs", sums(m)))
    yield "ThresholdedRelu", maps, lambda m: quantized(m, m.node("ThresholdedRelu", sums(m), alpha=3.0))
    yield "GlobalMaxPool", maps, lambda m: quantized(m, m.node("GlobalMaxPool", sums(m)))
    yield "GlobalMaxPool of a large map", (1, 4, 19, 18), lambda m: m.node("Conv", m.node(
        "GlobalMaxPool", m.linear("x", 0.5, 0, np.int8)), m.weights(3, 4, 1, 1, axis=0))
    yield "Floor", maps, lambda m: m.node("Conv", m.node("Clip", m.node(
        "Floor", m.node("Mul", sums(m), m.constant(0.125))), m.constant(-8.0), m.constant(7.0)), grid(m, 3, 4, 1, 1))
    yield "Expand and CastLike", maps, lambda m: m.node("Add", sums(m), m.node("CastLike", m.node(
        "Expand", m.numbers(4, 1, 1), m.integers(1, 4, 1, 1)), "x"))
    # Truncated pooling as Brevitas exports it: a shift that is computed.
    yield "computed scale", maps, lambda m: m.node("Mul", sums(m), m.node("Pow", m.constant(2.0), m.node(
        "Ceil", m.node("Div", m.node("Log", m.constant(5.0)), m.node("Log", m.constant(2.0))))))


    # Several scales in one sum: an accumulator for each, which the host adds up. Odd multiples of a power of two, so that
    # no sum is a tie in float32 alone.
    def concat(m):
        x = m.linear("x", 0.5, 7, np.int8)
        parts = (m.linear(m.node("Conv", x, m.weights(2, 4, 1, 1, axis=0)), scale, 0, np.int8) for scale in (0.375, 1.0, 0.625))
        pooled = m.node("MaxPool", m.node("Concat", *parts, axis=1), kernel_shape=[2, 2])
        return m.node("Conv", pooled, m.weights(3, 6, 1, 1, axis=0), m.numbers(3))

    yield "Conv of several scales as the output", maps, concat

    def many_scales(m):
        x = m.linear("x", 0.5, 7, np.int8)
        scales = [(2 * i + 3) / 16 for i in range(12)]
        parts = (m.linear(m.node("Conv", x, m.weights(1, 4, 1, 1, axis=0)), scale, 0, np.int8) for scale in scales)
        return m.node("Relu", m.node("Conv", m.node("Concat", *parts, axis=1), m.weights(3, 12, 1, 1, axis=0)))

    yield "Relu of twelve: several scales", maps, many_scales
    yield "a cast to half precision and back", maps, lambda m: quantized(m, m.node("Cast", m.node(
        "Cast", m.node("Mul", sums(m), m.constant(0.3)), to=TensorProto.FLOAT16), to=TensorProto.FLOAT))
    yield "half precision that overflows", maps, lambda m: quantized(m, m.node("Cast", m.node(
        "Cast", m.node("Mul", sums(m), m.constant(4096.0)), to=TensorProto.FLOAT16), to=TensorProto.FLOAT))

    # Functions of one quantized map, whatever they are made of.
    q = lambda m, scale=1.0: m.linear(m.node("Mul", sums(m), m.constant(0.0625)), scale, 0, np.int8)

    def silu(m):
        x = q(m, 0.25)
        return quantized_small(m, m.node("Mul", x, m.linear(m.node("Sigmoid", x), 1 / 64, 0, np.int8)))

    def quantized_small(m, x):
        return m.node("Conv", m.linear(x, STEP, 3, np.int8), m.weights(3, 4, 1, 1, axis=0))

    def of_one(function):
        def build(m):
            x = q(m, 0.25)
            return quantized_small(m, function(m, x))
        return build

    yield "x times its quantized sigmoid", maps, silu
    functions = {
        "x / (1 + |x|)": lambda m, x: m.node("Div", x, m.node("Add", m.node("Abs", x), m.constant(1.0))),
        "x times x": lambda m, x: m.node("Mul", x, x),
        "hard swish of Add, Clip, Mul, Div": lambda m, x: m.node("Div", m.node("Mul", x, m.node(
            "Clip", m.node("Add", x, m.constant(3.0)), m.constant(0.0), m.constant(6.0))), m.constant(6.0)),
        "maximum with a constant": lambda m, x: m.node("Max", x, m.constant(-0.5)),
        "minimum with a constant": lambda m, x: m.node("Min", x, m.constant(1.25)),
        "x - x^3": lambda m, x: m.node("Sub", x, m.node("Pow", x, m.constant(3.0))),
        "exponential": lambda m, x: m.node("Exp", m.node("Neg", m.node("Abs", x))),
        "square root": lambda m, x: m.node("Sqrt", m.node("Relu", x)),
        "reciprocal": lambda m, x: m.node("Reciprocal", m.node("Add", m.node("Abs", x), m.constant(1.0))),
        "logarithm": lambda m, x: m.node("Log", m.node("Add", m.node("Abs", x), m.constant(1.0))),
        "minimum with a constant for each channel": lambda m, x: m.node("Min", m.constant(
            np.reshape([0.5, -0.25, 1.0, 4.0], (4, 1, 1))), x),
    }
    for name, function in functions.items():
        yield f"function: {name}", maps, of_one(function)

    def squeeze(m):
        x = m.linear(sums(m), 4.0, 0, np.uint8)
        mean = m.linear(m.node("GlobalAveragePool", x), 1.0, 0, np.uint8)
        gate = m.linear(m.node("Conv", mean, m.weights(4, 4, 1, 1, axis=0)), 1.0, 0, np.uint8)
        return m.node("Conv", m.linear(m.node("Mul", x, gate), 64.0, 0, np.uint8), m.weights(3, 4, 1, 1, axis=0))

    yield "a map times a value for each channel", (1, 4, 6, 6), squeeze

    def nine_bits(m):
        weights = m.constant(rng.integers(0, 256, (3, 4, 3, 3)), np.uint8)
        weights = m.node("DequantizeLinear", weights, m.constant(1 / 64), m.constant(118, np.uint8))
        return m.node("Conv", m.linear("x", 0.5, 7, np.int8), weights)

    yield "weights of 9 bits", maps, nine_bits

    def falling(m):
        x = m.node("MaxPool", sums(m), kernel_shape=[2, 2])
        gains = m.constant([-1.0, 0.5, -0.25, 2.0])
        x = m.node("BatchNormalization", x, gains, m.numbers(4), m.numbers(4), m.constant([0.25, 1.0, 4.0, 1.0]), epsilon=0.0)
        return m.node("Conv", m.linear(x, 2.0, 3, np.int8), m.weights(3, 4, 1, 1, axis=0))

    yield "codes that fall behind a pooling", maps, falling
    yield "mean of the map, then Linear", (1, 4, 6, 10), lambda m: m.node("MatMul", m.node("Flatten", m.node(
        "GlobalAveragePool", m.linear(sums(m), 2.0, 0, np.uint8))), m.weights(4, OUTPUTS))

    # The QOperator forms of onnxruntime's own domain.
    y = lambda m, scale=4.0, zero=-3: [m.constant(scale), m.constant(zero, np.int8)]

    def gemm(m):
        weights = [m.constant(rng.integers(-7, 8, (INPUTS, 5)), np.int8), m.constant(0.25), m.constant(0, np.int8)]
        end = y(m)
        x = m.node("QGemm", *ends(m, "x"), *weights, m.constant(rng.integers(-99, 99, 5), np.int32), *end)
        return head(m, x, *end)

    yield "QGemm", (1, INPUTS), gemm

    def q_add(m):
        x, scale, zero = ends(m, "x")
        weights = [m.constant(rng.integers(-7, 8, (4, 4, 1, 1)), np.int8), m.constant(0.25), m.constant(0, np.int8)]
        a, b = y(m, 4.0, 3), y(m, 2.0, -5)
        conv = m.node("QLinearConv", x, scale, zero, *weights, *a)
        total = m.node("QLinearAdd", conv, *a, x, scale, zero, *b)
        mean = m.node("QLinearGlobalAveragePool", total, *b, *y(m, 1.0, 2), channels_last=0)
        return head(m, mean, *y(m, 1.0, 2))

    yield "QLinearAdd and QLinearGlobalAveragePool", (1, 4, 4, 8), q_add

    # What the host does.
    product = lambda m: m.node("MatMul", m.linear("x", 0.5, 7, np.int8), m.weights(INPUTS, 5))
    yield "LogSoftmax", (1, INPUTS), lambda m: m.node("LogSoftmax", product(m), axis=1)
    yield "Sigmoid and Mul as the head", (1, INPUTS), lambda m: m.node(
        "HardSigmoid", m.node("Mul", product(m), m.constant(0.5)), alpha=0.25)

    def top(m):
        values = m.node("TopK", product(m), m.integers(3), outputs=2)
        return [values, values + ".1"]

    yield "TopK, values and places", (1, INPUTS), top
    yield "last of equal maxima", (1, INPUTS), lambda m: m.node("ArgMax", m.node("Round", m.node("Mul", product(
        m), m.constant(1 / 16))), axis=1, select_last_index=1, keepdims=0)

    def two(m):
        x = m.linear("x", 0.5, 7, np.int8)
        hidden = m.linear(m.node("MatMul", x, m.weights(INPUTS, HIDDEN)), 2.0, 0, np.int8)
        first = m.node("MatMul", hidden, m.weights(HIDDEN, OUTPUTS))
        return [first, m.node("ArgMax", m.node("MatMul", hidden, m.weights(HIDDEN, 3)), axis=1)]

    yield "two heads", (1, INPUTS), two

    def pair(m):
        """Two maps of small integers, many of them equal."""
        x = m.linear("x", 4.0, 0, np.int8)
        return x, m.linear(m.node("Conv", x, m.weights(4, 4, 1, 1, axis=0)), 16.0, 0, np.int8)

    def as_codes(m, value):
        return m.node("Conv", m.linear(value, 1.0, 0, np.int8), m.weights(2, 4, 1, 1, axis=0))

    def truth(m, value):
        return m.node("Cast", value, to=TensorProto.FLOAT)

    for op in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"):
        yield f"{op} of a constant", maps, lambda m: as_codes(m, truth(m, m.node(op, pair(m)[1], m.constant(16.0))))
        yield f"{op} of two maps", maps, lambda m: as_codes(m, truth(m, m.node(op, *pair(m))))
    yield "Sign", maps, lambda m: as_codes(m, m.node("Sign", pair(m)[1]))

    def logic(op):
        def build(m):
            value = pair(m)[1]
            both = m.node("Greater", value, m.constant(-16.0)), m.node("Less", value, m.constant(32.0))
            return as_codes(m, truth(m, m.node("Not", both[0]) if op == "Not" else m.node(op, *both)))

        return build

    for op in ("Not", "And", "Or", "Xor"):
        yield op, maps, logic(op)

    def choice(m, other):
        value = pair(m)[1]
        return as_codes(m, m.node("Where", m.node("Less", value, m.constant(0.0)), value, other(m, value)))

    yield "Where, or zero", maps, lambda m: choice(m, lambda m, x: m.constant(0.0))
    yield "Where, or a number", maps, lambda m: choice(m, lambda m, x: m.constant(3.0))
    yield "Where, or a product", maps, lambda m: choice(m, lambda m, x: m.node("Mul", x, m.constant(0.25)))
    yield "Sum of three", maps, lambda m: as_codes(m, m.node("Sum", *pair(m), m.constant(8.0)))
    yield "ReduceSum of pixels", maps, lambda m: as_codes(
        m, m.node("ReduceSum", pair(m)[1], m.integers(2, 3), keepdims=1))
    yield "ReduceMax of pixels", maps, lambda m: m.node("Conv", m.node(
        "ReduceMax", pair(m)[1], m.integers(2, 3), keepdims=1), m.weights(2, 4, 1, 1, axis=0))
    yield "ReduceMin of pixels, quantized", maps, lambda m: as_codes(
        m, m.node("ReduceMin", pair(m)[1], m.integers(2, 3), keepdims=1))
    yield "Gather of channels", maps, lambda m: as_codes(
        m, m.node("Gather", pair(m)[1], m.integers(3, 0, 2, 1), axis=1))
    yield "Tile of channels", maps, lambda m: m.node("Conv", m.node(
        "Tile", pair(m)[1], m.integers(1, 2, 1, 1)), m.weights(2, 8, 1, 1, axis=0))
    for op in ("ReduceMax", "ReduceMin", "ReduceProd", "ReduceSumSquare", "ReduceL1"):
        yield f"{op} of channels as the output", maps, lambda m: m.node(op, m.node(
            "Conv", m.linear("x", 4.0, 0, np.int8), m.constant(m.rng.integers(-2, 3, (3, 4, 1, 1)).astype(np.float32))),
            m.integers(1), keepdims=0)
    def resized(m, sizes=(1, 3, 9, 7), **attributes):
        x = m.node("Conv", m.linear("x", 4.0, 0, np.int8), m.weights(3, 4, 1, 1, axis=0))
        return m.node("Resize", x, "", "", m.integers(*sizes), **attributes)

    # Sizes for which the shares of two values are binary fractions.
    for coordinates in ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"):
        sizes = (1, 3, 11, 15) if coordinates == "align_corners" else (1, 3, 12, 16)
        yield f"Resize linear {coordinates} as the output", maps, lambda m: resized(
            m, sizes, mode="linear", coordinate_transformation_mode=coordinates)
        yield f"Resize nearest {coordinates} as the output", maps, lambda m: resized(
            m, coordinate_transformation_mode=coordinates)
    for nearest in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
        yield f"Resize nearest {nearest} as the output", maps, lambda m: resized(
            m, (1, 3, 5, 11), nearest_mode=nearest)

    def attention(m):
        a, b = (m.node("Reshape", m.node("Conv", m.linear("x", 4.0, 0, np.int8), m.weights(3, 4, 1, 1, axis=0)),
                       m.integers(1, 3, -1)) for _ in range(2))
        return m.node("MatMul", a, m.node("Transpose", b, perm=[0, 2, 1]))

    yield "MatMul of two maps as the output", maps, attention
    yield "CumSum as the output", (1, INPUTS), lambda m: m.node("CumSum", product(m), m.constant(1, np.int64))
    norms = {
        "LayerNormalization": lambda m, x: m.node("LayerNormalization", x, m.numbers(6), m.numbers(6)),
        "InstanceNormalization": lambda m, x: m.node("InstanceNormalization", x, m.numbers(4), m.numbers(4)),
        "LpNormalization": lambda m, x: m.node("LpNormalization", x, axis=1),
        "MeanVarianceNormalization": lambda m, x: m.node("MeanVarianceNormalization", x),
        "LRN": lambda m, x: m.node("LRN", x, size=3),
        "LpPool": lambda m, x: m.node("LpPool", x, kernel_shape=[2, 2]),
        "GlobalLpPool": lambda m, x: m.node("GlobalLpPool", x),
    }
    for op, build in norms.items():
        yield f"{op}, a norm as the output", maps, lambda m: build(m, sums(m))

    def two_sizes(m):
        x = m.linear("x", 0.5, 7, np.int8)
        small = m.linear(m.node("Conv", x, m.weights(3, 4, 3, 3, axis=0), strides=[2, 2]), 2.0, 0, np.int8)
        return [m.node("Conv", small, m.weights(2, 3, 2, 2, axis=0)), m.node("Conv", x, m.weights(3, 4, 1, 1, axis=0)),
                m.node("MatMul", m.node("Flatten", small), m.weights(18, OUTPUTS))]

    yield "heads of three sizes", maps, two_sizes

    def shift(div, levels, signed, by_channel):
        def build(m):
            tensor = lambda value: numpy_helper.from_array(np.array([value], np.float32))
            parameters = lambda low, high: m.constant(
                m.rng.integers(low, high, (3, 1, 1) if by_channel else (1,)).astype(np.float32))
            sums = m.node("Conv", m.linear("x", 1.0, 0, np.int8), m.constant(m.rng.integers(-8, 8, (3, 4, 3, 3)).astype(np.float32)))
            shifted = m.node("RequantShift", sums, parameters(-20, 40), parameters(-3000, 3000), div=tensor(div),
                             n_levels_out=tensor(levels), signed=tensor(signed))
            return m.node("Conv", shifted, m.constant(m.rng.integers(-8, 8, (2, 3, 1, 1)).astype(np.float32)))

        return build

    for div, levels, signed, by_channel in itertools.product((64, 100), (16, 256, 100), (0, 1), (False, True)):
        which = f"{div} to {levels} levels, {'signed' if signed else 'unsigned'}"
        yield f"RequantShift by {which}{', by channel' if by_channel else ''}", maps, shift(
            div, levels, signed, by_channel)

    def said(m):
        m.options = ["--input-type", "int8", "--input-scale", "0.25"]
        return m.node("Conv", "x", grid(m, 3, 4, 3, 3), m.numbers(3))

    yield "an input whose format is said", maps, said
    yield "channels last", (1, 6, 8, 4), lambda m: m.node("Conv", m.node(
        "Transpose", m.linear("x", 0.5, 7, np.int8), perm=[0, 3, 1, 2]), m.weights(3, 4, 3, 3, axis=0))
    yield "channels last, quantized behind the Transpose", (1, 6, 8, 4), lambda m: m.node("Conv", m.linear(m.node(
        "Transpose", "x", perm=[0, 3, 1, 2]), 0.5, 7, np.int8), m.weights(3, 4, 3, 3, axis=0))
    yield "sign quantizer of the input", (1, INPUTS), lambda m: m.node(
        "MatMul", m.node("BipolarQuant", "x", m.constant(0.5)), m.weights(INPUTS, OUTPUTS))

    def long_input(m):
        for setting in ("act.words=4096", "load.buffers=64", "dram.burst=256"):
            m.options += ["--set", setting]
        return m.node("MatMul", m.linear("x", 0.5, 7, np.int8), m.weights(5000, OUTPUTS))

    yield "more inputs than the packer's pixels have", (1, 5000), long_input


def versions(rng):
    """Name, opset, input shape and builder of each operator with its defaults, in every version that it has."""
    maps, rows = (1, 4, 6, 8), (1, INPUTS)
    q = lambda m, scale=0.5, zero=7: m.linear("x", scale, zero, np.int8)
    conv = lambda m, x, *shape: m.node("Conv", x, m.weights(*shape, axis=0))
    sums = lambda m: conv(m, q(m), 4, 4, 1, 1)
    # Behind a function of real values.
    back = lambda m, x: conv(m, m.linear(x, STEP, 3, np.int8), 3, 4, 1, 1)
    near = lambda m: m.node("Mul", sums(m), m.constant(0.0625))
    one = {}
    for op in ("Relu", "LeakyRelu", "Elu", "Selu", "Sigmoid", "HardSigmoid", "Tanh", "Softplus", "Softsign", "Erf", "Neg",
               "Gelu", "HardSwish", "Mish", "Swish", "Abs", "ThresholdedRelu", "Celu", "Identity", "Dropout"):
        one[op] = maps, lambda m, op=op: back(m, m.node(op, near(m)))
    # A default slope of 0.01 needs a step that makes no ties.
    one["LeakyRelu"] = maps, lambda m: conv(m, m.linear(m.node("LeakyRelu", near(m)), 37 / 512, 3, np.int8), 3, 4, 1, 1)
    for op in ("Floor", "Ceil", "Round"):
        one[op] = maps, lambda m, op=op: back(m, m.node(op, m.node("Mul", sums(m), m.constant(0.125))))
    of_map = lambda build: (maps, lambda m: conv(m, build(m), 3, 4, 1, 1))
    pools = lambda op: (maps, lambda m: back(m, m.node(op, near(m), kernel_shape=[2, 3])))
    one |= {
        "Conv": (maps, lambda m: conv(m, q(m), 3, 4, 3, 3)),
        "ConvTranspose": (maps, lambda m: m.node("ConvTranspose", q(m), m.weights(4, 3, 3, 3))),
        "MatMul": (rows, lambda m: m.node("MatMul", q(m), m.weights(INPUTS, OUTPUTS))),
        "Gemm": (rows, lambda m: m.node("Gemm", q(m), m.weights(INPUTS, OUTPUTS), *(
            [m.numbers(OUTPUTS)] if m.opset < 11 else []))),
        "MaxPool": pools("MaxPool"),
        "AveragePool": (maps, lambda m: m.node("AveragePool", q(m), kernel_shape=[2, 4])),
        "GlobalAveragePool": ((1, 4, 4, 8), lambda m: m.node("GlobalAveragePool", q(m))),
        "GlobalMaxPool": (maps, lambda m: back(m, m.node("GlobalMaxPool", near(m)))),
        "ReduceMean": ((1, 4, 4, 8), lambda m: m.node("ReduceMean", q(m), axes=[2, 3]) if m.opset < 18 else m.node(
            "ReduceMean", q(m), m.integers(2, 3))),
        "BatchNormalization": (maps, lambda m: back(m, m.node(
            "BatchNormalization", sums(m), m.numbers(4), m.numbers(4), m.numbers(4), m.constant([1.0, 4.0, 0.25, 1.0])))),
        "PRelu": (maps, lambda m: back(m, m.node("PRelu", near(m), m.constant(np.full((4, 1, 1), 0.25))))),
        "Clip": (maps, lambda m: back(m, m.node("Clip", near(m), min=-1.0, max=2.0) if m.opset < 11 else m.node(
            "Clip", near(m), m.constant(-1.0), m.constant(2.0)))),
        "Pow": (maps, lambda m: back(m, m.node("Pow", near(m), m.constant(2.0)))),
        "Pad": of_map(lambda m: m.node("Pad", q(m), pads=[0, 0, 1, 2, 0, 0, 0, 1]) if m.opset < 11 else m.node(
            "Pad", q(m), m.integers(0, 0, 1, 2, 0, 0, 0, 1))),
        "Slice": of_map(lambda m: m.node("Slice", q(m), m.integers(1, 1), m.integers(4, 9), m.integers(2, 3))),
        "Split": of_map(lambda m: m.node("Split", q(m), outputs=2, axis=3, **({} if m.opset < 18 else {"num_outputs": 2}))),
        "Concat": (maps, lambda m: conv(m, m.node("Concat", q(m), m.linear(sums(m), 0.5, 0, np.int8), axis=1), 3, 8, 1, 1)),
        "Resize": of_map(lambda m: m.node("Resize", q(m), m.constant([1, 1, 2, 2])) if m.opset < 11 else m.node(
            "Resize", q(m), m.constant([]) if m.opset < 13 else "", m.constant([1, 1, 2, 2]))),
        "DepthToSpace": (maps, lambda m: conv(m, m.node("DepthToSpace", q(m), blocksize=2), 3, 1, 1, 1)),
        "SpaceToDepth": (maps, lambda m: conv(m, m.node("SpaceToDepth", q(m), blocksize=2), 3, 16, 1, 1)),
        "Transpose": (rows, lambda m: m.node("MatMul", m.node("Transpose", m.node("Transpose", q(m))), m.weights(12, 5))),
        "Flatten": (maps, lambda m: m.node("MatMul", m.node("Flatten", q(m)), m.weights(192, 5))),
        "Reshape": (maps, lambda m: m.node("MatMul", m.node("Reshape", q(m), m.integers(0, -1)), m.weights(192, 5))),
        "Squeeze": ((1, 4, 1, 1), lambda m: m.node("MatMul", m.node("Squeeze", q(m), axes=[2, 3]) if m.opset < 13 else
                                                   m.node("Squeeze", q(m), m.integers(2, 3)), m.weights(4, 5))),
        "Unsqueeze": ((1, 4), lambda m: conv(m, m.node("Unsqueeze", q(m), axes=[2, 3]) if m.opset < 13 else m.node(
            "Unsqueeze", q(m), m.integers(2, 3)), 3, 4, 1, 1)),
        "Expand": (maps, lambda m: m.node("Add", sums(m), m.node("Expand", m.numbers(4, 1, 1), m.integers(1, 4, 1, 1)))),
        "Cast": (maps, lambda m: m.node("Cast", sums(m), to=TensorProto.FLOAT)),
        "CastLike": (maps, lambda m: m.node("CastLike", sums(m), m.constant(1.0))),
        "Softmax": (rows, lambda m: m.node("Softmax", m.node("MatMul", q(m), m.weights(INPUTS, OUTPUTS)))),
        "LogSoftmax": (rows, lambda m: m.node("LogSoftmax", m.node("MatMul", q(m), m.weights(INPUTS, OUTPUTS)))),
        "ArgMax": (rows, lambda m: m.node("ArgMax", m.node("MatMul", q(m), m.weights(INPUTS, OUTPUTS)))),
        "TopK": (rows, lambda m: m.node("TopK", m.node("MatMul", q(m), m.weights(INPUTS, 5)), m.integers(2), outputs=2)),
        "QuantizeLinear": (rows, lambda m: m.node("MatMul", m.linear("x", 0.5, 7, np.int8), m.weights(INPUTS, 5))),
        "DequantizeLinear": (maps, lambda m: m.node("Conv", q(m), m.node(
            "DequantizeLinear", m.constant(rng.integers(-7, 8, (3, 4, 1, 1)), np.int8), m.constant(0.25)))),
    }
    for op in ("Add", "Sub", "Mul", "Div"):
        one[op] = maps, lambda m, op=op: back(m, m.node(op, near(m), m.constant(np.full((4, 1, 1), 0.75))))
    history = [schema for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""]
    for op, (shape, build) in one.items():
        # Quantizers came with opset 10.
        since = {max(schema.since_version, 10) for schema in history if schema.name == op and not schema.deprecated}
        for opset in sorted(opset for opset in since if opset <= LAST_OPSET):
            yield op, opset, shape, build
    qonnx = {
        "Quant": lambda m, x: m.node("Quant", x, *map(m.constant, (4.0, 0.0, 4.0)), signed=1, narrow=0),
        "BipolarQuant": lambda m, x: m.node("BipolarQuant", x, m.constant(0.5)),
        "MultiThreshold": lambda m, x: m.node("MultiThreshold", x, m.constant([[-3.0, 0.0, 8.0]]), out_dtype="UINT2"),
        "Trunc 1": lambda m, x: m.node("Trunc", m.node("Clip", x, m.constant(-112), m.constant(111)), *map(
            m.constant, (0.25, 0.0, 10.0, 4.0)), rounding_mode="FLOOR"),
        "Trunc 2": lambda m, x: m.node("Trunc", x, *map(
            m.constant, (0.25, 0.0, 12.0, 8.0, 4.0)), rounding_mode="FLOOR"),
    }
    for name, build in qonnx.items():
        yield name, 20, rows, lambda m: m.node("MatMul", build(m, m.node(
            "MatMul", q(m), m.weights(INPUTS, HIDDEN))), m.weights(HIDDEN, OUTPUTS))


def constants(rng):
    """Name and builder of constants that are computed from constants: every operator of the interpreter."""
    reals = lambda m, *shape: m.constant(rng.integers(-24, 25, shape) / 8)
    positive = lambda m, *shape: m.constant(rng.integers(1, 25, shape) / 8)
    whole = lambda m, *shape: m.constant(rng.integers(-9, 10, shape), np.int64)
    truths = lambda m, *shape: m.constant(rng.integers(0, 2, shape), bool)
    within = lambda m, *shape: m.constant(rng.integers(-7, 8, shape) / 8)
    for op in ("Abs", "Sign", "Ceil", "Floor", "Round", "Exp", "Sin", "Cos", "Tan", "Atan", "Sinh", "Cosh", "Asinh", "Relu",
               "Neg", "Sigmoid", "Tanh", "Softplus", "Softsign", "Erf", "LeakyRelu", "Elu", "Selu", "Celu", "HardSigmoid",
               "HardSwish", "Mish", "Gelu", "ThresholdedRelu", "Shrink", "Identity"):
        yield op, lambda m: m.node(op, reals(m, 3, 4))
    for op in ("Sqrt", "Log", "Reciprocal"):
        yield op, lambda m: m.node(op, positive(m, 3, 4))
    for op in ("Asin", "Acos", "Atanh"):
        yield op, lambda m: m.node(op, within(m, 3, 4))
    yield "Acosh", lambda m: m.node("Acosh", m.node("Add", positive(m, 3, 4), m.constant(1.0)))
    for op in ("Abs", "Sign", "Neg"):
        yield f"{op} of integers", lambda m: m.node(op, whole(m, 7))
    for op in ("Add", "Sub", "Mul", "Min", "Max", "Sum", "Mean"):
        yield op, lambda m: m.node(op, reals(m, 3, 1), reals(m, 4))
    for op in ("Add", "Sub", "Mul", "Min", "Max"):
        yield f"{op} of integers", lambda m: m.node(op, whole(m, 3, 1), whole(m, 4))
    yield "Div", lambda m: m.node("Div", reals(m, 3, 4), positive(m, 4))
    yield "Div of integers", lambda m: m.node("Div", whole(m, 12), m.integers(3, -3, 2, 5, -7, 1, 4, 3, 2, -2, 6, 9))
    yield "Mod of integers", lambda m: m.node("Mod", whole(m, 6), m.integers(3, -3, 2, 5, -7, 4))
    yield "Mod, as in C", lambda m: m.node("Mod", reals(m, 6), positive(m, 6), fmod=1)
    yield "Pow", lambda m: m.node("Pow", positive(m, 3, 4), reals(m, 4))
    yield "Pow of integers", lambda m: m.node("Pow", whole(m, 5), m.integers(0, 1, 2, 3, 2))
    yield "PRelu", lambda m: m.node("PRelu", reals(m, 3, 4), reals(m, 4))
    for op in ("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"):
        yield op, lambda m: m.node(op, whole(m, 20), whole(m, 20))
    for op in ("And", "Or", "Xor"):
        yield op, lambda m: m.node(op, truths(m, 3, 1), truths(m, 4))
    yield "Not", lambda m: m.node("Not", truths(m, 6))
    yield "IsNaN", lambda m: m.node("IsNaN", m.node("Log", reals(m, 8)))
    yield "IsInf", lambda m: m.node("IsInf", m.node("Div", reals(m, 8), m.constant(0.0)), detect_negative=0)
    for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
        yield op, lambda m: m.node(op, whole(m, 6), whole(m, 6))
    yield "BitwiseNot", lambda m: m.node("BitwiseNot", whole(m, 6))
    for direction in ("LEFT", "RIGHT"):
        yield f"BitShift {direction}", lambda m: m.node(
            "BitShift", m.constant([5, 200, 7], np.uint8), m.constant([1, 2, 9], np.uint8), direction=direction)
    yield "Where", lambda m: m.node("Where", truths(m, 3, 1), reals(m, 4), reals(m, 3, 4))
    yield "Clip", lambda m: m.node("Clip", reals(m, 12), m.constant(-1.0), m.constant(1.5))
    for kind in (TensorProto.INT32, TensorProto.INT8, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.BOOL, TensorProto.DOUBLE):
        yield f"Cast {kind}", lambda m: m.node("Cast", m.node("Mul", reals(m, 12), m.constant(1.01)), to=kind)
    yield "CastLike", lambda m: m.node("CastLike", reals(m, 12), whole(m, 1))
    yield "Shape", lambda m: m.node("Shape", reals(m, 2, 3, 4), start=-2)
    yield "Size", lambda m: m.node("Size", reals(m, 2, 3, 4))
    yield "Reshape", lambda m: m.node("Reshape", reals(m, 2, 6), m.integers(0, -1, 2))
    yield "Flatten", lambda m: m.node("Flatten", reals(m, 2, 3, 2), axis=2)
    yield "Squeeze", lambda m: m.node("Squeeze", reals(m, 1, 3, 1), m.integers(0))
    yield "Unsqueeze", lambda m: m.node("Unsqueeze", reals(m, 3), m.integers(0, -1))
    yield "Transpose", lambda m: m.node("Transpose", reals(m, 2, 3, 2), perm=[2, 0, 1])
    yield "Expand", lambda m: m.node("Expand", reals(m, 3, 1), m.integers(2, 1, 4))
    yield "Tile", lambda m: m.node("Tile", reals(m, 2, 3), m.integers(2, 2))
    yield "Concat", lambda m: m.node("Concat", reals(m, 2, 3), reals(m, 2, 1), axis=-1)
    yield "Split", lambda m: m.node("Split", reals(m, 6, 2), m.integers(4, 2), axis=0, outputs=2)
    for bounds in ([(5, -10, 0, -1)], [(1, 100, -1, 2)], [(-1, 0, 1, -2), (0, 2, 0, 1)]):
        starts, ends, axes, steps = ([bound[i] for bound in bounds] for i in range(4))
        yield f"Slice {bounds}", lambda m: m.node(
            "Slice", reals(m, 4, 6), *(m.integers(*of) for of in (starts, ends, axes, steps)))
    yield "Gather", lambda m: m.node("Gather", reals(m, 3, 4), m.constant([[0, -1], [2, 1]], np.int64), axis=1)
    yield "GatherElements", lambda m: m.node(
        "GatherElements", reals(m, 3, 3), m.constant([[1, 2, 0], [2, 0, -3]], np.int64), axis=0)
    yield "GatherND", lambda m: m.node("GatherND", reals(m, 2, 3, 2), m.constant([[0, 1], [1, -1]], np.int64))
    yield "ScatterElements", lambda m: m.node(
        "ScatterElements", reals(m, 3, 3), m.constant([[1, 0, 2]], np.int64), reals(m, 1, 3), axis=0)
    yield "ScatterElements add", lambda m: m.node(
        "ScatterElements", reals(m, 1, 5), m.constant([[1, 1]], np.int64), reals(m, 1, 2), axis=1, reduction="add")
    yield "ScatterND", lambda m: m.node("ScatterND", reals(m, 4, 2), m.constant([[3], [0]], np.int64), reals(m, 2, 2))
    for mode in ("constant", "edge", "reflect", "wrap"):
        yield f"Pad {mode}", lambda m: m.node("Pad", reals(m, 3, 4), m.integers(1, 2, 0, 1), m.constant(0.5), mode=mode)
    yield "ConstantOfShape", lambda m: m.node(
        "ConstantOfShape", m.integers(2, 3), value=helper.make_tensor("v", TensorProto.FLOAT, [1], [1.5]))
    yield "Range", lambda m: m.node("Range", *(m.constant(x, np.int64) for x in (7, -4, -3)))
    yield "EyeLike", lambda m: m.node("EyeLike", reals(m, 3, 4), k=1)
    for upper in (0, 1):
        yield f"Trilu {upper}", lambda m: m.node("Trilu", reals(m, 2, 3, 4), m.constant(-1 + upper, np.int64), upper=upper)
    yield "OneHot", lambda m: m.node("OneHot", m.integers(1, -1, 3), m.constant(4, np.int64), m.constant([0.5, 2.0]), axis=0)
    yield "NonZero", lambda m: m.node("NonZero", m.constant([[0, 1, 0], [2, 0, 3]]))
    yield "Dropout", lambda m: m.node("Dropout", reals(m, 3, 4))
    yield "Compress", lambda m: m.node("Compress", reals(m, 3, 4), m.constant([True, False, True], bool), axis=1)
    yield "DepthToSpace", lambda m: m.node("DepthToSpace", reals(m, 1, 4, 1, 2), blocksize=2)
    yield "SpaceToDepth", lambda m: m.node("SpaceToDepth", reals(m, 1, 1, 2, 4), blocksize=2)
    for op in ("Sum", "Mean", "Prod", "Max", "Min", "L1", "L2", "LogSum", "LogSumExp", "SumSquare"):
        values = positive if op == "LogSum" else reals
        yield f"Reduce{op}", lambda m: m.node(f"Reduce{op}", values(m, 2, 3, 2), m.integers(0, -1), keepdims=0)
        yield f"Reduce{op} of all", lambda m: m.node(f"Reduce{op}", values(m, 2, 3))
    yield "ReduceProd of integers", lambda m: m.node("ReduceProd", whole(m, 4), keepdims=1)
    for op in ("ArgMax", "ArgMin"):
        for last in (0, 1):
            yield f"{op} {last}", lambda m: m.node(
                op, m.constant([[1, 3, 3], [2, 0, 0]]), axis=1, select_last_index=last, keepdims=0)
    yield "CumSum", lambda m: m.node("CumSum", reals(m, 3, 4), m.constant(1, np.int64), reverse=1, exclusive=1)
    for op in ("Softmax", "LogSoftmax", "Hardmax"):
        yield op, lambda m: m.node(op, reals(m, 3, 4), axis=0)
    for largest in (0, 1):
        yield f"TopK {largest}", lambda m: m.node("TopK", whole(m, 2, 5), m.integers(3), largest=largest, outputs=2)
    yield "MatMul", lambda m: m.node("MatMul", reals(m, 2, 1, 3, 4), reals(m, 2, 4, 2))
    yield "MatMul of vectors", lambda m: m.node("MatMul", reals(m, 4), reals(m, 4))
    yield "MatMulInteger", lambda m: m.node(
        "MatMulInteger", m.constant([[1, 2]], np.uint8), m.constant([[3], [4]], np.uint8), m.constant(1, np.uint8))
    yield "Gemm", lambda m: m.node("Gemm", reals(m, 3, 2), reals(m, 4, 3), reals(m, 4), transA=1, transB=1, alpha=0.5, beta=2.0)
    yield "Einsum", lambda m: m.node("Einsum", reals(m, 2, 3), reals(m, 3, 4), equation="ij,jk->ki")
    yield "Einsum, diagonal", lambda m: m.node("Einsum", reals(m, 3, 3), equation="ii")
    yield "BatchNormalization", lambda m: m.node(
        "BatchNormalization", reals(m, 1, 2, 3), *(positive(m, 2) for _ in range(4)))
    yield "Unique", lambda m: m.node("Unique", whole(m, 9))
    windows = ({}, {"strides": [2, 1], "auto_pad": "SAME_UPPER"}, {"pads": [1, 0, 0, 1], "dilations": [2, 1]})
    for extra in (*windows, {"group": 2}, {"strides": [3, 2], "auto_pad": "SAME_LOWER"}):
        yield f"Conv {extra}", lambda m: m.node(
            "Conv", reals(m, 2, 4, 6, 5), reals(m, 4, 4 // extra.get("group", 1), 2, 3), reals(m, 4), **extra)
    yield "Conv of one dimension", lambda m: m.node("Conv", reals(m, 1, 2, 9), reals(m, 3, 2, 4), strides=[2])
    yield "Conv of three dimensions", lambda m: m.node("Conv", reals(m, 1, 2, 3, 4, 3), reals(m, 2, 2, 2, 2, 2))
    for op in ("MaxPool", "AveragePool", "LpPool"):
        for extra in (*windows, {"strides": [2, 2], "ceil_mode": 1}):
            yield f"{op} {extra}", lambda m: m.node(op, reals(m, 2, 3, 6, 5), kernel_shape=[2, 3], **extra)
    yield "AveragePool with padding", lambda m: m.node(
        "AveragePool", reals(m, 1, 2, 5, 5), kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    yield "LpPool of p 3", lambda m: m.node("LpPool", reals(m, 1, 2, 7), kernel_shape=[3], p=3)
    for op in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"):
        yield op, lambda m: m.node(op, reals(m, 2, 3, 4, 2))
    for p in (1, 2):
        yield f"LpNormalization {p}", lambda m: m.node("LpNormalization", reals(m, 3, 4), p=p, axis=0)
    yield "LayerNormalization", lambda m: m.node("LayerNormalization", reals(m, 2, 3, 4), reals(m, 3, 4), reals(m, 3, 4), axis=1)
    yield "InstanceNormalization", lambda m: m.node("InstanceNormalization", reals(m, 2, 3, 4, 2), reals(m, 3), reals(m, 3))
    for opset, size in ((18, 2), (21, 6)):
        def groups(m):
            m.opset = opset
            return m.node("GroupNormalization", reals(m, 2, 6, 4), reals(m, size), reals(m, size), num_groups=2)
        yield f"GroupNormalization {opset}", groups
    def root(m):
        m.opset = 23
        return m.node("RMSNormalization", reals(m, 3, 8), reals(m, 8))
    yield "RMSNormalization", root
    yield "MeanVarianceNormalization", lambda m: m.node("MeanVarianceNormalization", reals(m, 2, 3, 4, 3))
    yield "LRN", lambda m: m.node("LRN", reals(m, 1, 6, 2, 2), size=3, alpha=0.5, bias=2.0)
    yield "Det", lambda m: m.node("Det", reals(m, 2, 4, 4))
    yield "ReverseSequence", lambda m: m.node("ReverseSequence", reals(m, 4, 3), m.integers(1, 4, 2))
    for op in ("HannWindow", "HammingWindow", "BlackmanWindow"):
        for periodic in (0, 1):
            yield f"{op} {periodic}", lambda m: m.node(op, m.constant(9, np.int64), periodic=periodic)
    yield "DynamicQuantizeLinear", lambda m: m.node("DynamicQuantizeLinear", reals(m, 12), outputs=3)
    for coordinates in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"):
        for nearest in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
            yield f"Resize nearest {coordinates} {nearest}", lambda m: m.node(
                "Resize", reals(m, 1, 2, 4, 5), "", "", m.integers(1, 2, 7, 4), mode="nearest",
                coordinate_transformation_mode=coordinates, nearest_mode=nearest)
        for mode in ("linear", "cubic"):
            yield f"Resize {mode} {coordinates}", lambda m: m.node(
                "Resize", reals(m, 1, 1, 4, 5), "", m.constant([1.0, 1.0, 1.75, 0.5]), mode=mode,
                coordinate_transformation_mode=coordinates)
    yield "Resize cubic, inside alone", lambda m: m.node(
        "Resize", reals(m, 1, 1, 4, 5), "", "", m.integers(1, 1, 7, 8), mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5)


def shifts_written_out(model):
    """The model with each `RequantShift` as clip(floor((x * mul + add + div / 2) / div)) in double precision."""
    nodes = []
    for node in model.graph.node:
        if node.op_type != "RequantShift":
            nodes.append(node)
            continue
        given = {a.name: float(numpy_helper.to_array(a.t).reshape(-1)[0]) for a in node.attribute}
        low = -given["n_levels_out"] / 2 if given["signed"] else 0.0
        name, parts = node.output[0], []

        def step(op, *inputs, output=None, **attributes):
            output = output or f"{name}.{len(parts)}"
            parts.append(helper.make_node(op, list(inputs), [output], **attributes))
            return output

        def number(value):
            tensor = numpy_helper.from_array(np.float64(value))
            return step("Constant", value=tensor)

        x, mul, add = (step("Cast", value, to=TensorProto.DOUBLE) for value in node.input)
        sums = step("Add", step("Mul", x, mul), step("Add", add, number(given["div"] / 2)))
        shifted = step("Floor", step("Div", sums, number(given["div"])))
        clipped = step("Clip", shifted, number(low), number(low + given["n_levels_out"] - 1))
        step("Cast", clipped, output=name, to=TensorProto.FLOAT)
        nodes.extend(parts)
    written = onnx.ModelProto()
    written.CopyFrom(model)
    del written.graph.node[:]
    written.graph.node.extend(nodes)
    return written


def expected(model, images):
    """What the other implementation gives: by output, one array an image."""
    model = shifts_written_out(model)
    names = [output.name for output in model.graph.output]
    if any(node.domain == QONNX for node in model.graph.node):
        wrapper = ModelWrapper(model).transform(InferShapes())
        results = [execute_onnx(wrapper, {"x": image}) for image in images]
        return {name: np.stack([result[name] for result in results]) for name in names}
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Node by node: fused operators round elsewhere, and some take fewer forms.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    results = [session.run(names, {"x": image}) for image in images]
    return {name: np.stack([result[i] for result in results]) for i, name in enumerate(names)}


def found(binary, model, images, folder, options):
    """What the machine gives, by output, and warnings; None if the model is refused."""
    onnx.save(model, folder / "model.onnx")
    np.save(folder / "images.npy", images.reshape(len(images), *images.shape[2:]))
    several = len(model.graph.output) > 1
    program, output = folder / "program.bin", folder / ("real.npz" if several else "real.npy")
    run = lambda *words: subprocess.run([binary, *map(str, words)], capture_output=True, text=True)
    done = run("compile", folder / "model.onnx", "-o", program, *options)
    if done.returncode == 0:
        done = run("eval", program, "--images", folder / "images.npy", "--output", output)
    if done.returncode != 0:
        return None, done.stderr
    result = np.load(output)
    return (dict(result) if several else {model.graph.output[0].name: result}), ""


def compare(binary, name, proto, images, options, folder):
    """Says how a case ends; whether it is right, or None if the other implementation has no such operator."""
    try:
        right = expected(proto, images)
    except Exception as error:  # each implementation has exceptions of its own
        if not name.startswith("version "):
            raise
        print(f"{name}: not in the other implementation: {str(error).splitlines()[0][:150]}")
        return None
    result, error = found(binary, proto, images, folder, options)
    if result is None:
        print(f"{name}: refused\n{error}")
        return False
    exponentials = ("Softmax", "LogSoftmax")
    # Exponentials are rounded in several ways, and so are sums of several scales and norms.
    rounded = any(node.op_type in exponentials for node in proto.graph.node) or name.startswith("constant ") \
        or "several scales" in name or "a norm" in name
    equal, values = True, 0
    for output, right in right.items():
        own = result[output].reshape(right.shape)
        values += len(np.unique(right))
        if not (np.allclose(own, right, rtol=1e-5, atol=1e-6) if rounded else np.array_equal(own, right)):
            print(f"{name}: {(own != right).sum()} of {right.size} values differ, by {np.abs(own - right).max()}")
            equal = False
    if equal:
        print(f"{name}: equal, {values} values")
    return equal


def cases(rng):
    """Name, model and images of every case."""
    # Halves of a step are ties.
    images = lambda shape: (rng.integers(-80, 80, (IMAGES, *shape)) / 4).astype(np.float32)
    for name, build in activations(rng):
        model = Model(rng)
        x = model.linear("x", 0.5, 7, np.int8)
        x = model.node("MatMul", x, model.weights(INPUTS, HIDDEN))
        x = build(model, x)
        x = model.node("MatMul", x, model.weights(HIDDEN, OUTPUTS))
        yield name, model.proto(x, [1, INPUTS]), images([1, INPUTS]), []
    for name, shape, build, quantized in layers(rng):
        model = Model(rng)
        # Before, shapes are inferred with windows of a `MaxPool` that begin behind the map, which do not exist.
        model.opset = 22
        # Padding is the zero point.
        x = build(model, model.linear("x", 0.5, 7, np.int8))
        if quantized:
            name += ", quantized"
            x = model.linear(x, 2.0, -5, np.int8)
            x = model.node("Flatten", x)
            x = model.node("MatMul", x, model.weights(model.shape(x, shape)[1], OUTPUTS))
        yield name, model.proto(x, shape), images(shape), []
    # A constant is added to sums, so that the output shows it.
    for name, build in constants(rng):
        model = Model(rng)
        value = model.node("Reshape", model.node("Cast", build(model), to=TensorProto.FLOAT), model.integers(1, -1))
        count = model.evaluate(value).size
        x = model.node("MatMul", model.linear("x", 0.5, 7, np.int8), model.weights(INPUTS, count))
        yield f"constant {name}", model.proto(model.node("Add", x, value), [1, INPUTS]), images([1, INPUTS]), []
    for name, shape, build in forms(rng):
        model = Model(rng)
        output = build(model)
        yield name, model.proto(output, shape), images(shape), model.options
    for name, opset, shape, build in versions(rng):
        model = Model(rng)
        model.opset = opset
        yield f"version {opset} of {name}", model.proto(build(model), shape), images(shape), []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="cases whose name has this text")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    count = failures = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, proto, images, options in cases(rng):
            if arguments.only in name:
                right = compare(arguments.binary, name, proto, images, options, pathlib.Path(folder))
                count += right is not None
                failures += right is False
    print(f"{count - failures} of {count} cases are equal")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
