"""Torch modules as models: exported in memory, compared with what they are, and corrected.

What Brevitas writes is not always what was trained. The module still knows: each quantizer of the
file is held against the one of the module that it came from, by its name.

========================================= =======================================================
what the exporters of Brevitas lose        what is done
========================================= =======================================================
1-bit integer activations come out as      a 1-bit ``Quant`` of the same scale takes its place
``BipolarQuant``
weights rounded with FLOOR, CEIL, towards  the integers that the module computes are stored, which
zero or as learned; thresholds of ternary  every rounding keeps
weights
another rounding, sign or range of an      the attribute is set
activation in QONNX
the same in QCDQ, which has no place for   refused
it
a quantizer as a whole                     another exporter, or refused
what cannot be found again in the module   a warning names it
========================================= =======================================================

At the end the module and the machine compute the same images (`check`): what is left is said.
"""

from __future__ import annotations

import io
import itertools
import logging
import re
import tempfile
import warnings
from ast import literal_eval
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._optional import need
from .errors import ExportError, InvalidInput, UnsupportedModel

#: Operators of QONNX that quantize.
_QUANTIZERS = ("Quant", "IntQuant", "BipolarQuant", "Trunc")

#: Largest share of the outputs' size by which an image of the module may differ from the machine's
#: without being counted: float32 sums, and a code or two that a tie decides otherwise.
_TOLERANCE = 0.05

#: Images of `check`.
_IMAGES = 8


@dataclass
class Exported:
    """A module as an ONNX file, and what was corrected in it."""

    onnx: bytes
    corrections: list[str] = field(default_factory=list)
    #: Quantizers of the file whose place in the module is not known.
    unknown: list[str] = field(default_factory=list)


def export(module: Any, example_input: Any) -> Exported:
    """Exports a module with Brevitas layers to QONNX, or to QCDQ where that is all that works.

    Parameters
    ----------
    module : torch.nn.Module
        With Brevitas layers. It is left as it is, but for what `eval()` and `train()` change and
        restore.
    example_input : torch.Tensor or array, shape (1, ...)
        An input.

    Returns
    -------
    Exported

    Raises
    ------
    ExportError
        Nothing can be exported, or a difference to the module cannot be corrected.
    MissingPackage
        brevitas or onnx is missing.
    """
    purpose = "compiling a torch module"
    need("onnx", purpose)
    need("brevitas", purpose, "export to ONNX elsewhere and compile the file")
    from brevitas import export as brevitas_export

    if example_input is None:
        raise InvalidInput(
            "a torch module needs an example of its input\n  help: give one of the shape that the"
            " model takes: example_input=torch.zeros(1, 3, 32, 32)"
        )
    example = _tensor(module, example_input)[:1]
    if not _quantizers(module):
        raise ExportError(
            f"`{type(module).__name__}` has no quantized layers: its weights and activations are"
            " floating point\n  help: train it with layers of brevitas.nn, or convert it with"
            " brevitas.graph and calibrate it"
        )
    first: Exception | None = None
    refusal: ExportError | None = None
    # Of torch's two exporters the older one names nodes by their modules; where it cannot follow a
    # module, or is no more, the newer one keeps the same names beside the nodes.
    ways = itertools.product(("export_qonnx", "export_onnx_qcdq"), (False, True))
    called = _called(module, example)
    for name, dynamo in ways:
        try:
            with _inference(module), _quiet():
                model = _export(getattr(brevitas_export, name), module, example, dynamo)
                return _Corrector(module, model, called).run()
        except ExportError as error:
            refusal = refusal or error
        except Exception as error:  # Exporters raise whatever they meet.
            first = first or error
    if refusal is not None:
        raise refusal
    raise ExportError(
        f"Brevitas cannot export `{type(module).__name__}`, neither as QONNX nor as QCDQ:"
        f" {type(first).__name__}: {first}"
    ) from first


def outputs(module: Any, x: NDArray[Any]) -> NDArray[Any]:
    """The outputs of a module for images, in its own arithmetic."""
    import torch

    with _inference(module), torch.no_grad():
        y = module(_tensor(module, x))
    if isinstance(y, (tuple, list)) and not hasattr(y, "value"):
        y = y[0]
    return np.asarray(getattr(y, "value", y).detach().cpu())


def check(module: Any, predict: Callable[[Any], NDArray[Any]], example_input: Any) -> str | None:
    """Says how the machine differs from the module by more than ties, if it does.

    Parameters
    ----------
    module : torch.nn.Module
        What was compiled.
    predict : callable
        From images to the machine's outputs.
    example_input : torch.Tensor or array
        One input; others of its shape are drawn.
    """
    example = _tensor(module, example_input)[:1].detach().cpu().numpy().astype(np.float64)
    random = np.random.default_rng(0)
    spread = float(np.abs(example).max()) or 1.0
    shape = (_IMAGES - 1, *example.shape[1:])
    # float32 values, so that both see the same.
    drawn = random.uniform(-spread, spread, shape)
    x = np.concatenate([example, drawn]).astype(np.float32)
    machine = np.asarray(predict(x), np.float64)
    real = np.asarray(outputs(module, x), np.float64)
    if real.size != machine.size:
        return f"the module's output has the shape {real.shape}, the machine's {machine.shape}"
    real = real.reshape(machine.shape)
    largest = np.abs(machine).max() or 1.0
    errors = np.abs(real - machine).reshape(len(x), -1).max(1) / largest
    if np.median(errors) <= _TOLERANCE:
        return None
    return (
        f"the outputs differ from the module's by {np.median(errors):.0%} of the largest, on"
        f" {int((errors > _TOLERANCE).sum())} of {len(x)} images"
    )


# ---- Exporting ----


def _tensor(module: Any, x: Any) -> Any:
    """An input for a module, of its type and on its device."""
    import torch

    like = next(module.parameters(), torch.zeros(()))
    tensor = x.detach() if isinstance(x, torch.Tensor) else torch.from_numpy(np.array(x))
    return tensor.to(device=like.device, dtype=like.dtype)


def _quantizers(module: Any) -> dict[str, Any]:
    """The quantizers of a module that are not switched off, by their paths."""
    return {
        path: proxy
        for path, proxy in module.named_modules()
        if hasattr(proxy, "quant_injector") and getattr(proxy, "is_quant_enabled", False)
    }


def _called(module: Any, example: Any) -> set[str]:
    """Paths of the quantizers of weights and activations that an input comes by."""
    import torch

    called: set[str] = set()

    def hook(path: str) -> Callable[..., None]:
        return lambda *_: called.add(path)

    # Biases may be written as they are.
    hooks = [
        proxy.register_forward_hook(hook(path))
        for path, proxy in _quantizers(module).items()
        if not path.endswith("bias_quant")
    ]
    try:
        with _inference(module), torch.no_grad():
            module(example)
    finally:
        for one in hooks:
            one.remove()
    return called


@contextmanager
def _inference(module: Any) -> Iterator[None]:
    """The module as it computes after training; afterwards as it was."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters say of their own inside."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.fx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def _export(exporter: Callable[..., Any], module: Any, example: Any, dynamo: bool) -> Any:
    """Runs an exporter of Brevitas with one of torch's two."""
    model = None if dynamo else exporter(module, args=example, export_path=None, dynamo=False)
    if model is None:
        # The newer one writes files alone.
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/model.onnx"
            exporter(module, args=example, export_path=path, dynamo=dynamo)
            model = need("onnx", "reading an export").load(path)
    return model


# ---- Correcting ----


class _Corrector:
    """Sets right what a file says otherwise than the module that it was exported from."""

    def __init__(self, module: Any, model: Any, called: set[str]) -> None:
        from onnx import helper, numpy_helper

        self.helper, self.numpy_helper = helper, numpy_helper
        self.model, self.graph = model, model.graph
        self.modules = dict(module.named_modules())
        self.called = called
        self.scopes = {_scope(path): path for path in self.modules}
        self.initializers = {tensor.name: tensor for tensor in self.graph.initializer}
        self.constants = {
            node.output[0]: node
            for node in self.graph.node
            if node.op_type == "Constant" and node.attribute[0].name == "value"
        }
        self.producers = {name: node for node in self.graph.node for name in node.output}
        self.corrections: list[str] = []

    def run(self) -> Exported:
        weights: set[str] = set()
        found: set[str] = set()
        unknown = []
        for node in list(self.graph.node):
            path = self.path(node)
            if path is None:
                if node.op_type in (*_QUANTIZERS, "QuantizeLinear"):
                    unknown.append(node.name)
                continue
            found.add(path)
            layer, _, proxy = path.rpartition(".")
            if proxy == "weight_quant":
                if layer not in weights and node.op_type in ("Quant", "BipolarQuant", "IntQuant"):
                    self.weights(layer, node)
                    weights.add(layer)
                elif layer not in weights and node.op_type == "DequantizeLinear":
                    self.qcdq_weights(layer, node)
                    weights.add(layer)
            elif proxy != "bias_quant" and node.op_type in (*_QUANTIZERS, "QuantizeLinear"):
                self.activation(path, node)
        if not unknown and (lost := self.called - found):
            raise ExportError(
                f"the file that Brevitas writes lacks the quantizers {', '.join(sorted(lost))} of"
                " the module\n  help: another version of torch or Brevitas may write them"
            )
        return Exported(self.model.SerializeToString(), self.corrections, unknown)

    def path(self, node: Any) -> str | None:
        """Path in the module of the quantizer that a node was exported from."""
        for entry in node.metadata_props:
            if entry.key == "pkg.torch.onnx.name_scopes":
                # From the module as a whole to the operator.
                scopes = [s for s in literal_eval(entry.value) if s.endswith(".export_handler")]
                path = scopes[-1].removesuffix(".export_handler") if scopes else None
                return path if path in self.modules else None
        scope, found, _ = node.name.partition("/export_handler/")
        if not found:
            return None
        # A module that is called again is numbered.
        again = re.sub(r"_\d+(?=/|$)", "", scope)
        return self.scopes.get(scope, self.scopes.get(again))

    def array(self, name: str) -> NDArray[Any] | None:
        """The value of a constant."""
        if name in self.initializers:
            return self.numpy_helper.to_array(self.initializers[name])
        if name in self.constants:
            return self.numpy_helper.to_array(self.constants[name].attribute[0].t)
        return None

    def store(self, node: Any, at: int, name: str, values: NDArray[Any]) -> None:
        """Makes a new constant the input of a node."""
        self.graph.initializer.append(self.numpy_helper.from_array(values, name))
        self.initializers[name] = self.graph.initializer[-1]
        node.input[at] = name

    def attributes(self, node: Any) -> dict[str, Any]:
        values = {a.name: self.helper.get_attribute_value(a) for a in node.attribute}
        return {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}

    def weights(self, layer: str, node: Any) -> None:
        """Stores the integers of a layer's weights, where the file makes others of them."""
        trained = _quant_weight(self.modules[layer])
        given, scale = self.array(node.input[0]), self.array(node.input[1])
        if trained is None or given is None or scale is None:
            return
        values = trained.value.detach().cpu().numpy()
        if given.shape != values.shape:
            return
        if node.op_type == "BipolarQuant":
            written = np.where(given >= 0, scale, -scale)
        else:
            zero_point, bits = self.array(node.input[2]), self.array(node.input[3])
            written = _quantized(given, scale, zero_point, bits, self.attributes(node))
        step = np.abs(scale) / 2
        wrong = int((np.abs(written - values) > step).sum())
        if not wrong:
            return
        if node.op_type != "BipolarQuant":
            kept = _quantized(values, scale, zero_point, bits, self.attributes(node))
        else:
            kept = np.where(values >= 0, scale, -scale)
        if (np.abs(kept - values) > step).any():
            raise ExportError(
                f"`{layer}`: {wrong:,} of {values.size:,} weights come out of the export with"
                " other values than the module has, and no weights that the file could hold give"
                " these"
            )
        self.store(node, 0, f"{layer}.weight_as_trained", values.astype(np.float32))
        self.corrections.append(self.stored(layer, wrong, values.size))

    def stored(self, layer: str, wrong: int, count: int) -> str:
        """What is said of weights whose integers were taken from the module."""
        return (
            f"`{layer}`: {wrong:,} of {count:,} weights would have been rounded otherwise than in"
            f" the module ({_rounding(self.modules[layer].weight_quant)}); its integers are stored"
        )

    def qcdq_weights(self, layer: str, node: Any) -> None:
        """The same in QCDQ, whose weights are integers of 8 bits, or quantized on the way."""
        trained = _quant_weight(self.modules[layer])
        scale = self.array(node.input[1])
        if trained is None or scale is None:
            return
        values = trained.value.detach().cpu().numpy()
        zero_point = self.array(node.input[2]) if len(node.input) > 2 else None
        zero_point = np.zeros((), np.int8) if zero_point is None else zero_point
        axis = [1] * values.ndim
        if scale.size > 1:
            axis[int(self.attributes(node).get("axis", 1))] = scale.size
        steps, zeros = scale.reshape(axis), zero_point.reshape(axis if zero_point.size > 1 else ())
        integers = np.round(values / steps) + zeros
        given = self.integers(node.input[0])
        if given is not None and np.array_equal(given, integers):
            return
        kind: Any = np.int8 if integers.min() < 0 else np.uint8
        kind = zero_point.dtype if zero_point.dtype in (np.int8, np.uint8) else kind
        self.store(node, 0, f"{layer}.weight_as_trained", integers.astype(kind))
        wrong = values.size if given is None else int((given != integers).sum())
        self.corrections.append(self.stored(layer, wrong, values.size))

    def integers(self, name: str) -> NDArray[Any] | None:
        """What the quantizer of QCDQ makes of constant weights."""
        node = self.producers.get(name)
        if node is None or node.op_type not in ("Clip", "QuantizeLinear"):
            return self.array(name)
        if node.op_type == "Clip":
            given = self.integers(node.input[0])
            low, high = (self.array(end) for end in node.input[1:3])
            if given is None or low is None or high is None:
                return None
            return np.asarray(np.clip(given, low, high))
        given, scale = self.array(node.input[0]), self.array(node.input[1])
        if given is None or scale is None or scale.size > 1:
            return None
        zero_point = self.array(node.input[2]) if len(node.input) > 2 else None
        zero_point = np.zeros((), np.uint8) if zero_point is None else zero_point
        limits = np.iinfo(zero_point.dtype)
        return np.asarray(np.clip(np.round(given / scale) + zero_point, limits.min, limits.max))

    def activation(self, path: str, node: Any) -> None:
        """Sets right the quantizer of an activation, or refuses."""
        proxy = self.modules[path]
        if not getattr(proxy, "is_quant_enabled", False):
            return
        if node.op_type == "BipolarQuant":
            if not _is_binary(proxy):
                self.one_bit(path, proxy, node)
            return
        attributes = self.attributes(node)
        rounding = _rounding(proxy)
        if node.op_type == "QuantizeLinear":
            if rounding not in (None, "ROUND"):
                raise ExportError(
                    f"`{path}` rounds with {rounding}, but QCDQ, which is all that Brevitas can"
                    " export here, rounds to nearest\n  help: train it with rounding to nearest"
                )
            return
        wanted: dict[str, Any] = {"rounding_mode": rounding}
        if node.op_type != "Trunc":
            wanted["signed"] = int(bool(proxy.is_signed))
            wanted["narrow"] = int(bool(proxy.is_narrow_range))
        for name, value in wanted.items():
            if value is None or name not in attributes or attributes[name] == value:
                continue
            other = attributes[name]
            for place, attribute in enumerate(node.attribute):
                if attribute.name == name:
                    del node.attribute[place]
                    break
            node.attribute.append(self.helper.make_attribute(name, value))
            # Some are written in small letters, which says the same.
            if str(other).upper() != str(value):
                text = f"`{path}`: {name} is {value}, where the export had {other}"
                self.corrections.append(text)

    def one_bit(self, path: str, proxy: Any, node: Any) -> None:
        """Puts the 1-bit `Quant` that was trained in the place of a `BipolarQuant`."""
        data, scale = node.input
        signed = bool(proxy.is_signed)
        # Codes -1 and 0 are those from 0 to 1 with a zero point of 1. Between them lies one tie,
        # which goes to 0: to even there, and up here.
        rounding = _rounding(proxy) or "ROUND"
        if signed and rounding != "ROUND":
            raise ExportError(
                f"`{path}` has signed codes of one bit and rounds with {rounding}, for which the"
                " file has no quantizer\n  help: train it unsigned, or with two bits"
            )
        names = []
        for name, value in (("zero_point", float(signed)), ("bit_width", 1.0)):
            names.append(f"{path}.{name}_as_trained")
            value = self.numpy_helper.from_array(np.array(value, np.float32), names[-1])
            self.graph.initializer.append(value)
        quant = self.helper.make_node(
            "Quant",
            [data, scale, *names],
            list(node.output),
            name=node.name.replace("BipolarQuant", "Quant"),
            domain=node.domain,
            signed=0,
            narrow=0,
            rounding_mode="HALF_UP" if signed else rounding,
        )
        node.CopyFrom(quant)
        codes = "-1 and 0" if signed else "0 and 1"
        self.corrections.append(
            f"`{path}`: codes {codes} of one bit, where the export had BipolarQuant, -1 and +1"
        )


def _scope(path: str) -> str:
    """The name that torch gives to the scope of a module: ``/features/features.0/conv``."""
    scope, before = "", ""
    for part in path.split(".") if path else []:
        before = f"{before}.{part}" if part.isdigit() else part
        scope += f"/{before}"
    return scope


def _quant_weight(layer: Any) -> Any:
    """The quantized weights of a layer; None if they are not quantized to integers."""
    import torch

    if not hasattr(layer, "quant_weight"):
        return None
    with torch.no_grad():
        weight = layer.quant_weight()
    return weight if getattr(weight, "scale", None) is not None else None


def _quantized(
    values: NDArray[Any],
    scale: NDArray[Any],
    zero_point: Any,
    bits: Any,
    attributes: dict[str, Any],
) -> NDArray[Any]:
    """What a `Quant` node makes of values."""
    signed, narrow = bool(attributes["signed"]), bool(attributes["narrow"])
    levels = 2.0 ** float(np.asarray(bits).reshape(-1)[0])
    low = -levels / 2 + narrow if signed else 0.0
    high = levels / 2 - 1 if signed else levels - 1 - narrow
    quotient = values.astype(np.float64) / scale + zero_point
    functions: dict[str, Callable[[Any], Any]] = {
        "ROUND": np.round,
        "HALF_EVEN": np.round,
        "FLOOR": np.floor,
        "CEIL": np.ceil,
        "ROUND_TO_ZERO": np.trunc,
        "DOWN": np.trunc,
    }
    rounded = functions.get(attributes["rounding_mode"], np.round)(np.clip(quotient, low, high))
    return np.asarray((rounded - zero_point) * scale)


def _rounding(proxy: Any) -> str | None:
    """The rounding of a quantizer, by its name in QONNX."""
    mode = getattr(proxy, "rounding_mode", None)
    return None if mode is None else str(mode).upper()


def _is_binary(proxy: Any) -> bool:
    """Whether a quantizer of one bit has the values -scale and +scale."""
    names = [(type(part).__name__, _original(part)) for part in proxy.modules()]
    return any("Binary" in name for both in names for name in both)


def _original(part: Any) -> str:
    """The class of a scripted module."""
    return str(getattr(part, "original_name", ""))


__all__ = ["Exported", "UnsupportedModel", "check", "export", "outputs"]
