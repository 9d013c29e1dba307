"""Models: what is compiled, wherever it comes from."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import _qnnsim
from .errors import InvalidInput


class ModelWarning(UserWarning):
    """Something about a model that may not be meant."""


class Model:
    """A network in integers, imported from an ONNX file or a torch module.

    Attributes
    ----------
    name : str
        Its name in reports and sweeps.
    onnx : bytes
        The file that was imported: that of the user, or the corrected export of a torch module.
    corrections : list of str
        What the exporter had written wrongly and was set right from the torch module.
    module : torch.nn.Module or None
        The module that it was made from.
    """

    def __init__(
        self,
        name: str,
        onnx: bytes,
        native: _qnnsim.Model,
        corrections: Sequence[str] = (),
        module: Any = None,
    ) -> None:
        self.name = name
        self.onnx = onnx
        self.corrections = list(corrections)
        self.module = module
        self._native = native

    def __repr__(self) -> str:
        return f"<model {self.name}: {len(self._native.layers)} layers>"


def is_module(model: Any) -> bool:
    """Whether it is a torch module, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def load_model(
    model: Any,
    example_input: Any = None,
    *,
    name: str | None = None,
    pixel_scale: float | Sequence[float] = 1.0,
    pixel_offset: float | Sequence[float] = 0.0,
    classes: Sequence[str] = (),
    unsigned_1bit_relu: bool = False,
    stacklevel: int = 3,
) -> Model:
    """Imports whatever `compile` takes as a model."""
    if isinstance(model, Model):
        return model
    corrections: list[str] = []
    module = None
    if is_module(model):
        from ._torch import export

        module = model
        exported = export(model, example_input)
        onnx, corrections = exported.onnx, exported.corrections
        if exported.unknown:
            warnings.warn(
                f"`{type(model).__name__}`: the export does not say from where in the module the"
                f" quantizers {', '.join(exported.unknown)} are, so they are not compared with it"
                "\n  help: qnnsim.verify says whether the outputs are the module's",
                ModelWarning,
                stacklevel=stacklevel,
            )
        name = name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(model).__name__).lower()
    elif isinstance(model, (str, os.PathLike)):
        path = Path(model)
        onnx, name = path.read_bytes(), name or path.stem
    elif isinstance(model, (bytes, bytearray, memoryview)):
        onnx, name = bytes(model), name or "model"
    elif hasattr(model, "SerializeToString"):
        onnx = model.SerializeToString()
        name = name or getattr(getattr(model, "graph", None), "name", "") or "model"
    else:
        raise InvalidInput(
            f"a model is a torch module, the path or the bytes of an ONNX file, or an"
            f" onnx.ModelProto, not {type(model).__module__}.{type(model).__qualname__}"
        )
    native = _qnnsim.Model(
        name, onnx, _list(pixel_scale), _list(pixel_offset), list(classes), unsigned_1bit_relu
    )
    for text in native.warnings:
        warnings.warn(text, ModelWarning, stacklevel=stacklevel)
    return Model(name, onnx, native, corrections, module)


def _list(values: float | Sequence[float]) -> list[float]:
    """A number for all channels, or one for each."""
    return [float(value) for value in np.atleast_1d(values)]
