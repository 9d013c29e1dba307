"""A program of a user, checked with `mypy --strict` against the package as it is installed."""

from typing import assert_type

import numpy as np

import qnnsim

p = qnnsim.compile("net.onnx", hw={"mac.cols": 32}, pixel_offset=-128)
assert_type(p, qnnsim.Program)
assert_type(qnnsim.load("net.bin"), qnnsim.Program)
assert_type(p.input_shape, tuple[int, ...])
assert_type(p.profile(), qnnsim.Profile)
assert_type(p.profile().cycles.warm, float)
assert_type(p.trace(np.zeros((1, 1, 28, 28)))["conv1"].bit_width, int)
assert_type(qnnsim.verify("net.onnx", p, np.zeros((1, 1, 28, 28))).agrees, bool)
assert_type(p.explain(), qnnsim.Explanation)
assert_type(qnnsim.sweep([p], {"mac.cols": [8, 16]}).best("energy"), qnnsim.HardwarePoint)
assert_type(p.timeline().to_perfetto("run.json"), None)
assert_type(qnnsim.HardwarePoint(mac_cols=32).mac_cols, int)

try:
    p.predict(np.zeros((1, 2)))
except qnnsim.InvalidInput as error:
    assert_type(error, qnnsim.InvalidInput)
