"""Programs: compiled, saved, run and measured."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _qnnsim
from ._hardware import HardwarePoint, point
from ._model import Model, is_module, load_model
from ._progress import progress
from ._report import Explanation, Profile, Timeline
from .errors import ExportError, InvalidInput


class Trace(Mapping[str, "LayerMap"]):
    """The integer map of every layer for some images, by the layer's name, in the layers' order."""

    def __init__(self, maps: Sequence[LayerMap]) -> None:
        self._maps = {m.name: m for m in maps}

    def __getitem__(self, name: str) -> LayerMap:
        try:
            return self._maps[name]
        except KeyError:
            raise KeyError(f"no layer `{name}`; there are {', '.join(self._maps)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._maps)

    def __len__(self) -> int:
        return len(self._maps)

    def __repr__(self) -> str:
        return "\n".join(map(repr, self._maps.values()))


class LayerMap:
    """The integers that a layer writes, with what they stand for, as an IntQuantTensor has it.

    Attributes
    ----------
    name : str
        Name of the layer.
    values : ndarray of int64, shape (N, channels, height, width)
        The integers.
    scale : ndarray of float64, shape () or (channels, 1, 1), or None
        Real size of one step. None where the program was loaded without its model, or where the
        map is no tensor of the model's graph.
    zero_point : int or None
        The integer that stands for 0; None where `scale` is.
    bit_width : int
        Bits of an integer.
    signed : bool
        Whether the integers are two's complement.
    """

    def __init__(self, native: _qnnsim._Map) -> None:
        self.name: str = native["name"]
        self.values: NDArray[np.int64] = native["values"]
        self.bit_width: int = native["bits"]
        self.signed: bool = native["signed"]
        self.zero_point: int | None = native["zero_point"]
        scale = native["scale"]
        self.scale: NDArray[np.float64] | None = None
        if scale is not None:
            self.scale = np.array(scale[0] if len(scale) == 1 else scale)
            if self.scale.ndim:
                self.scale = self.scale.reshape(-1, 1, 1)

    @property
    def real(self) -> NDArray[np.float64]:
        """Ndarray of float64: (values - zero_point) x scale, the tensor of the model's graph."""
        if self.scale is None or self.zero_point is None:
            raise InvalidInput(
                f"the scale of `{self.name}` is not known\n  help: compile the model in this"
                " process; a program file has integers alone"
            )
        return (self.values - self.zero_point) * self.scale

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.values, dtype=dtype, copy=True if copy is None else copy)

    def __repr__(self) -> str:
        kind = f"{'int' if self.signed else 'uint'}{self.bit_width}"
        scale = "" if self.scale is None else f", zero point {self.zero_point}"
        if self.scale is not None:
            scale += f", scale {self.scale:.6g}" if self.scale.ndim == 0 else ", scale by channel"
        shape = " x ".join(map(str, self.values.shape))
        return f"{self.name}: {shape} of {kind}{scale}"


class Program:
    """A network compiled for a hardware point, proven legal, timed and ready to run.

    `qnnsim.compile` and `qnnsim.load` make it.

    Attributes
    ----------
    model : Model or None
        What it was compiled from; None if it was loaded from a file.
    """

    def __init__(self, native: _qnnsim.Session, model: Model | None = None) -> None:
        self._native = native
        self.model = model

    @property
    def name(self) -> str:
        """Name of the network."""
        return self._native.name

    @property
    def hw(self) -> HardwarePoint:
        """The hardware point that it was compiled for."""
        return HardwarePoint(json.loads(self._native.hw))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Sizes of an input as the model has it, without the batch."""
        return self._native.input_shape

    @property
    def outputs(self) -> dict[str, tuple[int, ...]]:
        """Name and sizes of each output of the model, without the batch."""
        return {name: tuple(dims) for name, dims in self._native.outputs}

    @property
    def classes(self) -> list[str]:
        """Names of the classes; empty if they are not known."""
        return self._native.classes

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the program file, which `qnnsim.load` and the command line read.

        Parameters
        ----------
        path : path
            The file to write; one that is there is replaced when the new one is whole.
        """
        target = Path(path)
        whole = target.with_name(target.name + ".part")
        try:
            whole.write_bytes(self._native.save())
            os.replace(whole, target)
        finally:
            whole.unlink(missing_ok=True)

    def predict(
        self, x: ArrayLike, *, integers: bool = False, show_progress: bool | None = None
    ) -> Any:
        """Computes the outputs of images, exactly, on all cores.

        Parameters
        ----------
        x : array of float32, float64 or uint8, shape (N, *input_shape)
            Real inputs as the model takes them; uint8 are pixels, which become
            ``pixel_scale * pixel + pixel_offset``. Pictures may have their channels last and lack a
            single one; for one image N may be left out. A torch tensor will do.
        integers : bool
            Give the last accumulators instead of the real outputs.
        show_progress : bool, optional
            By default where a person looks.

        Returns
        -------
        ndarray of float64, shape (N, ...)
            The model's output; of int64 where it is a class number or `integers` are asked for. A
            dict of arrays by name where the model has several outputs.

        Raises
        ------
        InvalidInput
            `x` has another shape or type, or holds NaN.
        """
        with progress("image", show_progress) as watch:
            outputs, _ = self._native.predict(array(x), integers, watch)
        return outputs[0][1] if len(outputs) == 1 else dict(outputs)

    def profile(
        self, *, technology: str | os.PathLike[str] | None = None, clock_mhz: int | None = None
    ) -> Profile:
        """Cycles, energy and area of an image, by layer, unit and memory.

        Parameters
        ----------
        technology : str or path, optional
            Name of a technology, or a RON file of one; by default that of the hardware point.
        clock_mhz : int, optional
            Clock in MHz; by default that of the hardware point.

        Returns
        -------
        Profile

        Raises
        ------
        InvalidHardware
            There is no such technology.
        """
        if technology is not None and str(technology).endswith(".ron"):
            technology = Path(technology).read_text(encoding="utf-8")
        name = None if technology is None else str(technology)
        return Profile(self._native.report(name, clock_mhz))

    def trace(self, x: ArrayLike, *, show_progress: bool | None = None) -> Trace:
        """The integers that every layer writes, for each image.

        Parameters
        ----------
        x : array
            As for `predict`.
        show_progress : bool, optional
            By default where a person looks.

        Returns
        -------
        Trace
            A mapping from names of layers to `LayerMap`.
        """
        with progress("image", show_progress) as watch:
            return Trace([LayerMap(one) for one in self._native.trace(array(x), watch)])

    def explain(self) -> Explanation:
        """What bounds each layer, and which hardware parameter would help most.

        Each parameter is doubled (a latency halved) and the point simulated once more. A program
        that was loaded without its model cannot be tried with parameters that its code is made
        for; those say so.

        Returns
        -------
        Explanation
        """
        return Explanation(self._native.explain(), self.name)

    def timeline(self, *, cold: bool = False) -> Timeline:
        """Every instruction of an image by cycle, in each stage that works at it.

        Parameters
        ----------
        cold : bool
            The cold image, in which nothing is resident, instead of a warm one.

        Returns
        -------
        Timeline
        """
        rows = self._native.timeline(cold)
        return Timeline(rows, lambda: self._native.trace_events(cold), self.name, cold)

    def __repr__(self) -> str:
        return f"<program {self.name} for {self.hw.name}>"


def compile(
    model: Any,
    example_input: Any = None,
    *,
    hw: Any = None,
    name: str | None = None,
    pixel_scale: float | Sequence[float] = 1.0,
    pixel_offset: float | Sequence[float] = 0.0,
    classes: Sequence[str] = (),
    unsigned_1bit_relu: bool = False,
) -> Program:
    """Compiles a trained network for a hardware point.

    Parameters
    ----------
    model : torch.nn.Module, path, bytes, onnx.ModelProto or Model
        A module with Brevitas layers, which is exported in memory; or an ONNX file with quantizers
        of QONNX or QCDQ.
    example_input : torch.Tensor or array, shape (1, channels, height, width)
        An input of the module; needed for a module alone.
    hw : HardwarePoint, mapping or path, optional
        The hardware point: ``{"mac.cols": 32}``; by default the one of the manual.
    name : str, optional
        Name of the network; by default that of the file or of the module's class.
    pixel_scale, pixel_offset : float or sequence of float
        A pixel of 8 bits becomes the real input ``pixel_scale * pixel + pixel_offset``: one number,
        or one for each channel.
    classes : sequence of str
        Names of the classes, one for each output.
    unsigned_1bit_relu : bool
        Read a ``BipolarQuant`` whose input cannot be negative as unsigned 1-bit codes. A module
        does not need it.

    Returns
    -------
    Program

    Raises
    ------
    UnsupportedModel
        The model holds what cannot be computed exactly; the message names the nodes. As its
        subclass ExportError, a module cannot be exported as it computes.
    DoesNotFit
        The network does not fit the hardware point.
    InvalidHardware
        There is no such hardware point.
    MissingPackage
        A module is given, and torch, brevitas or onnx is not installed.
    """
    hw = point(hw)
    loaded = load_model(
        model,
        example_input,
        name=name,
        pixel_scale=pixel_scale,
        pixel_offset=pixel_offset,
        classes=classes,
        unsigned_1bit_relu=unsigned_1bit_relu,
    )
    program = Program(_qnnsim.Session.compile(loaded._native, hw.to_json()), loaded)
    if loaded.module is model:
        from ._torch import check

        differs = check(model, lambda x: program.predict(x, show_progress=False), example_input)
        if differs is not None:
            raise ExportError(
                f"`{program.name}`: {differs}\n  help: the module does not compute what it exports;"
                " export it to ONNX yourself, and compare the two"
            )
    return program


def load(file: str | os.PathLike[str] | bytes) -> Program:
    """Loads a program file that `Program.save` or the command line wrote.

    Parameters
    ----------
    file : path or bytes
        The file, or what is in it.

    Returns
    -------
    Program

    Raises
    ------
    MalformedProgram
        It is no program file of this version.
    Trap
        The machine would trap, or a proof about the program fails.
    """
    data = file if isinstance(file, bytes) else Path(file).read_bytes()
    return Program(_qnnsim.Session.load(data))


def array(x: Any) -> NDArray[Any]:
    """An array of numpy from what a caller has: a tensor of torch, a list, an array."""
    # An IntQuantTensor of Brevitas has its real values.
    x = getattr(x, "value", x)
    if hasattr(x, "detach"):
        x = x.detach().cpu().numpy()
    return np.asarray(x)


__all__ = ["LayerMap", "Program", "Trace", "compile", "is_module", "load"]
