"""The network TCV for onnxruntime: in float32 from the trained QONNX model, and in 8 bits with QDQ;
and for qnnsim with fewer bits, which takes as long as one that is trained for them.

    python3 models.py float32 programs/tcv_w8a8.onnx OUT.onnx
    python3 models.py int8 FLOAT32.onnx OUT.onnx --images t10k-images-idx3-ubyte.gz
    python3 models.py 4 programs/tcv_w8a8.onnx OUT.onnx
"""

import argparse

import numpy as np
import onnx
from onnx import numpy_helper

from mnist import read_images

CALIBRATION_IMAGES = 200


def float32(model):
    """Takes the quantizers out: the same layers with the trained weights before quantization."""
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    source, nodes = {}, []
    for node in graph.node:
        inputs = [source.get(name, name) for name in node.input]
        if node.op_type in ("Quant", "BipolarQuant"):
            source[node.output[0]] = inputs[0]
            continue
        if node.op_type == "Transpose" and inputs[0] in constants:
            # A weight of a dense layer.
            name = node.output[0]
            values = numpy_helper.to_array(constants[inputs[0]]).T
            constants[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
            continue
        if node.op_type == "Reshape":
            shape = numpy_helper.from_array(np.array([0, -1]), "flat")
            constants["flat"] = shape
            inputs[1] = "flat"
        node = onnx.NodeProto.FromString(node.SerializeToString())
        del node.input[:]
        node.input.extend(inputs)
        nodes.append(node)
    used = {name for node in nodes for name in node.input}
    images = onnx.helper.make_tensor_value_info(graph.input[0].name, 1, ["N", 1, 28, 28])
    scores = onnx.helper.make_tensor_value_info(nodes[-1].output[0], 1, ["N", 10])
    kept = [tensor for name, tensor in constants.items() if name in used]
    graph = onnx.helper.make_graph(nodes, "tcv", [images], [scores], kept)
    opset = [onnx.helper.make_opsetid("", 18)]
    made = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    onnx.checker.check_model(made)
    return made


def narrowed(model, bits):
    """Every quantizer of 8 bits, but for that of the input, with so many bits of the same range."""
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}

    def constant(name, values):
        graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    for number, node in enumerate(graph.node):
        if node.op_type != "Quant" or node.input[0] == graph.input[0].name:
            continue
        scale, width = (numpy_helper.to_array(constants[node.input[i]]) for i in (1, 3))
        if int(width) == 8:
            wider = (scale * 2.0 ** (8 - bits)).astype(scale.dtype)
            node.input[1] = constant(f"scale_{number}", wider)
            node.input[3] = constant(f"bits_{number}", np.full_like(width, bits))
    return model


def int8(path, out, images):
    """Quantizes a float32 model, its norms folded, to 8 bits of activations and weights with QDQ."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType
    from onnxruntime.quantization import quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    name = onnx.load(path).graph.input[0].name
    folded = out + ".folded.onnx"
    quant_pre_process(path, folded, skip_symbolic_shape=True)

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.batches = iter([{name: images[:CALIBRATION_IMAGES]}])

        def get_next(self):
            return next(self.batches, None)

    quantize_static(
        folded,
        out,
        Reader(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("form", choices=["float32", "int8", "2", "4"])
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--images")
    args = parser.parse_args()
    if args.form == "float32":
        onnx.save(float32(onnx.load(args.model)), args.out)
    elif args.form in ("2", "4"):
        onnx.save(narrowed(onnx.load(args.model), int(args.form)), args.out)
    else:
        int8(args.model, args.out, read_images(args.images))


if __name__ == "__main__":
    main()
