"""Corrects what Brevitas writes for activations of one bit.

Brevitas exports every one-bit quantizer as BipolarQuant, whose values are -scale and +scale. Behind a Relu
its input is never negative, so the node would be constantly +scale. The model was trained with the unsigned
codes 0 and 1: this step puts a one-bit unsigned Quant of the same scale in the node's place. Weights, which
have both signs, stay bipolar. A model without this defect passes through unchanged.

    python3 programs/train/correct_export.py EXPORTED.onnx CORRECTED.onnx
"""

import argparse

import numpy as np
import onnx
from onnx import helper, numpy_helper

ZERO_POINT, ONE_BIT = "zero_pt", "one_bit"  # the initializers that the new nodes share


def unsigned_quant(bipolar):
    """The one-bit unsigned Quant that computes what the model behind this BipolarQuant was trained with."""
    data, scale = bipolar.input
    return helper.make_node(
        "Quant",
        [data, scale, ZERO_POINT, ONE_BIT],
        list(bipolar.output),
        name=bipolar.name.replace("BipolarQuant", "Quant"),
        domain=bipolar.domain,
        signed=0,
        narrow=0,
        rounding_mode="ROUND",
    )


def correct_export(model):
    """Replaces each BipolarQuant behind a Relu, in place; returns the names of the replaced nodes."""
    graph = model.graph
    producer = {name: node.op_type for node in graph.node for name in node.output}
    defects = [
        (place, node)
        for place, node in enumerate(graph.node)
        if node.op_type == "BipolarQuant" and producer.get(node.input[0]) == "Relu"
    ]
    names = [node.name for _, node in defects]
    for place, node in defects:
        graph.node[place].CopyFrom(unsigned_quant(node))
    if defects:
        for name, value in ((ZERO_POINT, 0.0), (ONE_BIT, 1.0)):
            graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("exported", metavar="EXPORTED.onnx")
    parser.add_argument("corrected", metavar="CORRECTED.onnx")
    options = parser.parse_args()

    model = onnx.load(options.exported)
    names = correct_export(model)
    onnx.save(model, options.corrected)
    print(f"{len(names)} activation quantizers corrected", *names, sep="\n  ")


if __name__ == "__main__":
    main()
