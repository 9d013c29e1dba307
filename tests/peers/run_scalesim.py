"""TCV on a 16x16 array in SCALE-Sim, cycles only: python3 run_scalesim.py FOLDER"""

import pathlib
import sys

from scalesim.scale_sim import scalesim

# Height, width, kernel, channels in and out of each layer, borders of zeros included.
LAYERS = {
    "conv1": (30, 30, 3, 3, 1, 64),
    "conv2": (16, 16, 3, 3, 64, 64),
    "fc1": (7, 7, 7, 7, 64, 64),
    "out": (1, 1, 1, 1, 64, 10),
}
CONFIG = """
[general]
run_name = tcv
[architecture_presets]
ArrayHeight = 16
ArrayWidth = 16
IfmapSramSzkB = 64
FilterSramSzkB = 64
OfmapSramSzkB = 64
IfmapOffset = 0
FilterOffset = 10000000
OfmapOffset = 20000000
Dataflow = os
Bandwidth = 8
ReadRequestBuffer = 64
WriteRequestBuffer = 64
[layout]
IfmapCustomLayout = False
IfmapSRAMBankBandwidth = 16
IfmapSRAMBankNum = 16
IfmapSRAMBankPort = 2
FilterCustomLayout = False
FilterSRAMBankBandwidth = 16
FilterSRAMBankNum = 16
FilterSRAMBankPort = 2
[sparsity]
SparsitySupport = false
[run_presets]
InterfaceBandwidth = CALC
UseRamulatorTrace = False
"""


def main():
    folder = pathlib.Path(sys.argv[1])
    rows = [f"{name}, {', '.join(map(str, sizes))}, 1, 1:1," for name, sizes in LAYERS.items()]
    (folder / "scale.cfg").write_text(CONFIG)
    header = "Layer, Height, Width, Filter height, Filter width, Channels, Filters, Stride, Sparsity,"
    (folder / "tcv.csv").write_text("\n".join([header, *rows, ""]))
    # A layout is asked for even where none is used.
    of_layer = ", ".join(["1"] * 20)
    layout = ["Layer," + ",".join(f"f{i}" for i in range(20)) + ","]
    layout += [f"{name}, {of_layer}," for name in LAYERS]
    (folder / "layout.csv").write_text("\n".join([*layout, ""]))
    simulation = scalesim(
        save_disk_space=True,
        verbose=False,
        config=str(folder / "scale.cfg"),
        topology=str(folder / "tcv.csv"),
        layout=str(folder / "layout.csv"),
    )
    simulation.run_scale(top_path=str(folder))
    cycles = sum(layer.total_cycles for layer in simulation.runner.single_layer_sim_object_list)
    print("cycles", int(cycles))


if __name__ == "__main__":
    main()
