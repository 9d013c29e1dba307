"""Quantized networks on a small accelerator: exact results, cycles and energy from one object.

>>> import qnnsim
>>> p = qnnsim.compile("model.onnx", hw={"mac.cols": 32})      # doctest: +SKIP
>>> y = p.predict(x)                                           # doctest: +SKIP
>>> p.profile().energy_pj.warm                                 # doctest: +SKIP
"""

from ._hardware import HardwarePoint
from ._model import Model, ModelWarning
from ._program import LayerMap, Program, Trace, compile, load
from ._qnnsim import __version__
from ._report import ColdWarm, Explanation, Profile, Timeline
from ._sweep import Sweep, sweep
from ._verify import Verification, verify
from .errors import (
    DoesNotFit,
    ExportError,
    InvalidHardware,
    InvalidInput,
    MalformedProgram,
    MissingPackage,
    QnnsimError,
    Trap,
    UnsupportedModel,
)

__all__ = [
    "ColdWarm",
    "DoesNotFit",
    "Explanation",
    "ExportError",
    "HardwarePoint",
    "InvalidHardware",
    "InvalidInput",
    "LayerMap",
    "MalformedProgram",
    "MissingPackage",
    "Model",
    "ModelWarning",
    "Profile",
    "Program",
    "QnnsimError",
    "Sweep",
    "Timeline",
    "Trace",
    "Trap",
    "UnsupportedModel",
    "Verification",
    "__version__",
    "compile",
    "load",
    "sweep",
    "verify",
]
