"""Several ways to compute a model, compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _qnnsim, _text
from ._model import Model, is_module, load_model
from ._optional import frame
from ._program import Program, array
from ._progress import progress
from .errors import InvalidInput


class Verification(_text.Shown):
    """What a comparison found, map by map.

    Every difference is a tie (the graph in floating point decides otherwise where an accumulator
    lies within its rounding of a boundary) or an error.

    Attributes
    ----------
    agrees : bool
        Whether there are no errors: no difference but ties.
    images : int
        Images that were compared, the first of them cold.
    precision : str
        Arithmetic of the graph, ``"double precision"`` or ``"float32"``.
    module : dict or None
        Of the torch module, in its own float32: ``values`` and ``differences`` of its outputs,
        ``max_error`` the largest of these over the largest output, and ``images`` whose class
        differs. A tie in a layer can show there, so these do not decide `agrees`.
    """

    def __init__(
        self, name: str, images: int, precision: str, maps: list[dict[str, Any]], module: Any
    ) -> None:
        self.name = name
        self.images = images
        self.precision = precision
        self.module: dict[str, Any] | None = module
        self._maps = maps
        self.agrees: bool = all(
            m["machine"]["count"] == 0 and m["graph"]["count"] == 0 for m in maps
        )

    @property
    def ties(self) -> int:
        """Differences between graph and reference within the graph's rounding."""
        return sum(m["ties"]["count"] for m in self._maps)

    @property
    def errors(self) -> int:
        """All other differences."""
        return sum(m["machine"]["count"] + m["graph"]["count"] for m in self._maps)

    @property
    def maps(self) -> Any:
        """pandas.DataFrame: for the input and each layer ``values``, how often the ``simulator``
        differs from the integer reference, the ``graph`` by more than its rounding, and in
        ``ties``.
        """
        return frame(self._rows(), of="maps")

    def to_dict(self) -> list[dict[str, Any]]:
        """By map, with the first difference of each kind and its place."""
        return self._maps

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                "name": m["name"],
                "values": m["values"],
                "simulator": m["machine"]["count"],
                "graph": m["graph"]["count"],
                "ties": m["ties"]["count"],
            }
            for m in self._maps
        ]

    def _title(self) -> str:
        return self.name

    def _table(self, *, html: bool) -> tuple[Sequence[str], list[list[str]]]:
        head = ["map", "values", "simulator differs", "graph differs", "ties"]
        rows = [
            [row["name"], *(f"{row[k]:,}" for k in ("values", "simulator", "graph", "ties"))]
            for row in self._rows()
        ]
        return head, rows

    def _facts(self) -> list[tuple[str, str]]:
        verdict = f"{self.errors:,} errors, {self.ties:,} ties in {self.precision}"
        rows = [("images", f"{self.images:,}"), ("verdict", verdict)]
        if self.module is not None:
            m = self.module
            rows.append(
                (
                    "module",
                    f"{m['differences']:,} of {m['values']:,} outputs differ, the farthest by"
                    f" {m['max_error']:.2g} of the largest; the class of {m['images']:,} images",
                )
            )
        return rows

    def __bool__(self) -> bool:
        return self.agrees


def verify(
    model: Any,
    program: Program,
    x: ArrayLike,
    *,
    float32: bool = False,
    show_progress: bool | None = None,
) -> Verification:
    """Compares simulator, integer reference and the model's graph map by map; and with the module.

    Parameters
    ----------
    model : torch.nn.Module, path, bytes, onnx.ModelProto or Model
        What `program` was compiled from. If it is the same module, its export is not repeated.
    program : Program
        What runs on the machine.
    x : array
        Images, as for `Program.predict`.
    float32 : bool
        Evaluate the graph in float32, as frameworks do, instead of double precision.
    show_progress : bool, optional
        By default where a person looks.

    Returns
    -------
    Verification

    Raises
    ------
    InvalidInput
        The program is not made from the model, or `x` is not its input.
    """
    values = array(x)
    if (
        isinstance(program, Program)
        and program.model is not None
        and (program.model is model or (is_module(model) and program.model.module is model))
    ):
        loaded = program.model
    elif not isinstance(program, Program):
        raise InvalidInput(f"`program` is a qnnsim.Program, not {type(program).__name__}")
    else:
        example = values[:1] if is_module(model) else None
        scale, offset = program._native.pixels
        loaded = load_model(model, example, pixel_scale=scale, pixel_offset=offset)
    with progress("image", show_progress) as watch:
        maps = _qnnsim.verify(loaded._native, program._native, values, float32, watch)
    images = maps[0]["values"] // int(np.prod(program.input_shape))
    module = loaded.module if isinstance(model, Model) else model
    beside = None
    if is_module(module):
        from ._torch import outputs

        real = values = _as_module(values, program.input_shape)
        if values.dtype == np.uint8:
            shape = (-1, *[1] * (len(program.input_shape) - 1))
            by_channel = [np.reshape(numbers, shape) for numbers in program._native.pixels]
            real = values * by_channel[0] + by_channel[1]
        machine = program.predict(values, show_progress=False)
        first = next(iter(machine.values())) if isinstance(machine, dict) else machine
        beside = _compare(outputs(module, real), first)
    precision = "float32" if float32 else "double precision"
    return Verification(program.name, images, precision, maps, beside)


def _as_module(x: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Images of any form that `Program.predict` takes as a module takes them: (N, *shape)."""
    last = (*shape[1:], shape[0])
    if shape not in (x.shape, x.shape[1:]) and last in (x.shape, x.shape[1:]):
        x = np.moveaxis(x, -1, -len(shape))
    return x.reshape(-1, *shape)


def _compare(module: Any, machine: Any) -> dict[str, Any]:
    """The outputs of a torch module beside the machine's, which are exact."""
    module = np.asarray(module, np.float64).reshape(machine.shape)
    largest = float(np.abs(machine).max()) or 1.0
    error = np.abs(module - machine) / largest
    # A float32 sum of many terms is off by some roundings of its largest term.
    differs = error > 1e-4
    flat = (len(machine), -1)
    classes = module.reshape(flat).argmax(1) != machine.reshape(flat).argmax(1)
    return {
        "values": int(machine.size),
        "differences": int(differs.sum()),
        "max_error": float(error.max()),
        "images": int(classes.sum()),
    }
