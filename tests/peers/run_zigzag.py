"""TCV on ZigZag's array like a TPU: python3 run_zigzag.py FLOAT32.onnx FOLDER

Prints cycles and energy of one image, from its analytical model and a search of mappings.
"""

import pathlib
import sys

import onnx
import zigzag
from zigzag.api import get_hardware_performance_zigzag


def main():
    model, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    graph = onnx.load(model)
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    graph.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(graph)
    onnx.save(graph, folder / "tcv.onnx")
    inputs = pathlib.Path(zigzag.__file__).parent / "inputs"
    energy_pj, cycles, _ = get_hardware_performance_zigzag(
        str(folder / "tcv.onnx"),
        str(inputs / "hardware/tpu_like.yaml"),
        str(inputs / "mapping/tpu_like.yaml"),
        opt="latency",
        dump_folder=str(folder),
        loma_show_progress_bar=False,
    )
    print("cycles", int(cycles), "energy_pj", energy_pj)


if __name__ == "__main__":
    main()
