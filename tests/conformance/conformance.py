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
# Of the quantizer behind a function: of few digits, but no power of two, for where a function comes near a straight
# line its values would come near ties, which float32 cannot tell from ties.
STEP = 3 / 128


class Model:
    """A graph under construction; methods that add something give the name of its value."""

    def __init__(self, rng):
        self.rng, self.nodes, self.constants, self.qonnx, self.opset = rng, [], [], False, 20

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

    def weights(self, *shape, axis=1):
        """Signed weights of three bits, a scale for each output, as integers."""
        raw = self.constant(self.rng.integers(-4, 4, shape), np.int8)
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

    def proto(self, output, shape):
        value = lambda name, shape, kind=TensorProto.FLOAT: helper.make_tensor_value_info(name, kind, shape)
        kind = TensorProto.INT64 if self.nodes[-1].op_type == "ArgMax" else TensorProto.FLOAT
        outputs = [value(output, [1, OUTPUTS] if self.qonnx else None, kind)]
        graph = helper.make_graph(self.nodes, "case", [value("x", shape)], outputs, self.constants)
        # The first version of Trunc has five inputs.
        first = any(node.op_type == "Trunc" and len(node.input) == 5 for node in self.nodes)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(QONNX, 1 if first else 2)]
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


def expected(model, images):
    """What the other implementation gives."""
    if any(node.domain == QONNX for node in model.graph.node):
        wrapper = ModelWrapper(model).transform(InferShapes())
        name = model.graph.output[0].name
        return np.concatenate([execute_onnx(wrapper, {"x": image})[name] for image in images])
    options = onnxruntime.SessionOptions()
    # Node by node: fused operators round elsewhere, and some take fewer forms.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": image})[0] for image in images])


def found(binary, model, images, folder):
    """What the machine gives, and warnings; None if the model is refused."""
    onnx.save(model, folder / "model.onnx")
    sizes = images.shape[2:]
    # One dimension is that of the columns.
    sizes = (sizes[0], 1, sizes[1]) if len(sizes) == 2 else sizes
    np.save(folder / "images.npy", images.reshape(len(images), *sizes))
    program, output = folder / "program.bin", folder / "real.npy"
    run = lambda *words: subprocess.run([binary, *map(str, words)], capture_output=True, text=True)
    done = run("compile", folder / "model.onnx", "-o", program)
    if done.returncode == 0:
        done = run("eval", program, "--images", folder / "images.npy", "--output", output)
    return (np.load(output), "") if done.returncode == 0 else (None, done.stderr)


def compare(binary, name, proto, images, folder):
    """Says how a case ends; whether it is right."""
    result, error = found(binary, proto, images, folder)
    if result is None:
        print(f"{name}: refused\n{error}")
        return False
    right = expected(proto, images)
    last = proto.graph.node[-1].op_type
    if last == "ArgMax":
        result = result.argmax(axis=1)
    result = result.reshape(right.shape)
    # Exponentials are rounded in several ways.
    equal = np.allclose(result, right, rtol=1e-5, atol=1e-7) if last == "Softmax" else np.array_equal(result, right)
    if equal:
        print(f"{name}: equal, {len(np.unique(right))} values")
    else:
        print(f"{name}: {(result != right).sum()} of {right.size} values differ, by {np.abs(result - right).max()}")
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
        yield name, model.proto(x, [1, INPUTS]), images([1, INPUTS])
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
        yield name, model.proto(x, shape), images(shape)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="cases whose name has this text")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    count = failures = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, proto, images in cases(rng):
            if arguments.only in name:
                count += 1
                failures += not compare(arguments.binary, name, proto, images, pathlib.Path(folder))
    print(f"{count - failures} of {count} cases are equal")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
