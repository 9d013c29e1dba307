"""Modules of Brevitas: what is compiled is what was trained, whatever the exporter wrote.

Expected values are the modules' own, computed by torch in double precision from the integers and
scales of its quantizers.
"""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

import qnnsim

if "QNNSIM_REQUIRE_TORCH" not in os.environ:
    pytest.importorskip("brevitas")

import networks
import torch
from brevitas import nn as qnn
from networks import ALL, calibrated

pytestmark = pytest.mark.filterwarnings("ignore::qnnsim.ModelWarning")


def images(kind: type, count: int = 16) -> torch.Tensor:
    torch.manual_seed(99)
    return torch.randn(count, *kind.shape)


def trained(module: torch.nn.Module, x: torch.Tensor) -> np.ndarray:
    """The module's outputs in double precision, which has no ties but exact ones."""
    exact = module.double()
    try:
        with torch.no_grad():
            y = exact(x.double())
    finally:
        module.float()
    return getattr(y, "value", y).numpy()


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_module_compiles_to_what_it_computes(kind):
    module = calibrated(kind)
    x = images(kind)
    program = qnnsim.compile(module, torch.zeros(1, *kind.shape))
    got = program.predict(x)
    wanted = trained(module, x).reshape(got.shape)
    # Sums in double precision are exact to many digits; a tie in float32 scales may be one code.
    close = np.isclose(got, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    assert close.all(1).mean() >= 0.9, np.abs(got - wanted).max(1)
    assert np.abs(got - wanted).max() < 0.1 * np.abs(wanted).max()
    verification = qnnsim.verify(module, program, x)
    assert verification
    assert verification.module is not None
    assert not module.training


def test_one_bit_activations_need_no_flag():
    module = calibrated(networks.OneBit)
    program = qnnsim.compile(module, torch.zeros(1, 1, 8, 8))
    assert any("features.3.act_quant" in text for text in program.model.corrections)
    # What the exporter wrote is refused without the flag, for its activation would be constant.
    import io

    from brevitas.export import export_qonnx

    file = io.BytesIO()
    exported = export_qonnx(module, torch.zeros(1, 1, 8, 8), export_path=None, dynamo=False)
    written = exported.SerializeToString() if exported is not None else file.getvalue()
    with pytest.raises(qnnsim.UnsupportedModel, match="BipolarQuant"):
        qnnsim.compile(written)
    # With it, it is the same program: same code, data and tables.
    flagged = qnnsim.compile(written, unsigned_1bit_relu=True, name=program.name)
    x = images(networks.OneBit)
    assert np.array_equal(flagged.predict(x), program.predict(x))
    assert flagged.profile().cycles == program.profile().cycles


def test_signed_codes_of_one_bit():
    module = calibrated(networks.OneBit, True)
    program = qnnsim.compile(module, torch.zeros(1, 1, 8, 8))
    assert any("codes -1 and 0" in text for text in program.model.corrections)
    x = images(networks.OneBit)
    assert np.allclose(program.predict(x), trained(module, x), rtol=1e-4, atol=1e-3)


def test_roundings_that_the_exporter_loses_are_kept():
    module = calibrated(networks.Rounding)
    corrections = qnnsim.compile(module, torch.zeros(1, 1, 8, 8)).model.corrections
    for layer, what in (("floor", "FLOOR"), ("ceil", "CEIL"), ("ternary", "")):
        assert any(f"`{layer}`" in text and what in text for text in corrections), layer
    # Signs are exported rightly.
    assert not any("`binary`" in text for text in corrections)


@pytest.fixture
def refused(monkeypatch):
    """Makes ways to export fail: a name in Brevitas, and whether with torch's newer exporter."""
    from brevitas import export

    def refuse(*ways: tuple[str, bool]) -> None:
        def exporter(name, original):
            def run(*words, dynamo, **named):
                if (name, dynamo) in ways:
                    raise RuntimeError(f"{name} does not know an operator")
                return original(*words, dynamo=dynamo, **named)

            return run

        for name in ("export_qonnx", "export_onnx_qcdq"):
            monkeypatch.setattr(export, name, exporter(name, getattr(export, name)))

    return refuse


QONNX = [("export_qonnx", False), ("export_qonnx", True)]


def operators(program: qnnsim.Program) -> set[str]:
    import onnx

    return {node.op_type for node in onnx.load_from_string(program.model.onnx).graph.node}


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_the_newer_exporter_of_torch_gives_the_same_program(kind, refused):
    module = calibrated(kind)
    example = torch.zeros(1, *kind.shape)
    usual = qnnsim.compile(module, example)
    refused(("export_qonnx", False), ("export_onnx_qcdq", False))
    try:
        newer = qnnsim.compile(module, example)
    except qnnsim.ExportError as error:
        # Brevitas 0.12 loses this quantizer on that way, which is noticed.
        assert kind is networks.Truncated
        assert "lacks the quantizers pool.trunc_quant" in str(error)
        return
    x = images(kind)
    assert np.array_equal(newer.predict(x), usual.predict(x))
    assert newer.model.corrections == usual.model.corrections


@pytest.mark.parametrize(
    "kind", [networks.Residual, networks.Depthwise, networks.Waveform], ids=lambda k: k.__name__
)
def test_qcdq_takes_the_place_of_qonnx_where_that_fails(kind, refused):
    module = calibrated(kind)
    example = torch.zeros(1, *kind.shape)
    qonnx = qnnsim.compile(module, example)
    assert "Quant" in operators(qonnx)
    refused(*QONNX)
    qcdq = qnnsim.compile(module, example)
    assert "QuantizeLinear" in operators(qcdq)
    assert not operators(qcdq) & {"Quant", "BipolarQuant"}
    x = images(kind)
    assert np.array_equal(qcdq.predict(x), qonnx.predict(x))
    assert qnnsim.verify(module, qcdq, x)


@pytest.mark.parametrize(
    "quant",
    [networks.FloorWeight, networks.CeilWeight, networks.TernaryWeight],
    ids=lambda quant: quant.__name__,
)
@pytest.mark.parametrize("way", ["QONNX", "QCDQ"])
def test_weights_are_those_of_the_module_whatever_rounds_them(quant, way, refused):
    module = calibrated(networks.Weights, quant)
    if way == "QCDQ":
        refused(*QONNX)
    program = qnnsim.compile(module, torch.zeros(1, 1, 8, 8))
    assert ("QuantizeLinear" in operators(program)) == (way == "QCDQ")
    x = images(networks.Weights)
    with torch.no_grad():
        # In double precision another side of a step may be taken where a weight lies on it.
        wanted = module(x).numpy()
    assert np.allclose(program.predict(x), wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    if way == "QONNX":
        # The exporter wrote other weights, or there would be nothing to tell.
        assert any("`conv`" in text for text in program.model.corrections)


def test_what_no_exporter_can_hold_is_refused_with_both_names(refused):
    # Activations that are rounded down, where QCDQ rounds to nearest.
    module = calibrated(networks.Rounding)
    refused(*QONNX)
    with pytest.raises(qnnsim.ExportError) as caught:
        qnnsim.compile(module, torch.zeros(1, 1, 8, 8))
    assert "`Rounding`, neither as QONNX nor as QCDQ" in str(caught.value)
    assert "does not know an operator" in str(caught.value)


def test_bits_that_are_dropped_are_exported_as_the_module_drops_them():
    # The scale of what TruncAvgPool2d leaves, and its rounding, are the module's.
    module = calibrated(networks.Truncated)
    program = qnnsim.compile(module, torch.zeros(1, 1, 8, 8))
    x = images(networks.Truncated)
    seen = []
    hook = module.pool.register_forward_hook(lambda _, __, y: seen.append(y))
    wanted = trained(module, x)
    hook.remove()
    got = program.predict(x)
    assert np.allclose(got, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    pooled = seen[0].value.numpy()
    assert any(
        layer.real.shape == pooled.shape and np.allclose(layer.real, pooled, rtol=1e-6)
        for layer in program.trace(x).values()
        if layer.scale is not None
    )


def test_a_quantizer_whose_place_is_not_known_is_named(monkeypatch):
    from qnnsim import _torch

    module = calibrated(networks.Waveform)
    path = _torch._Corrector.path
    name = "/features/features.0/act_quant/export_handler/Quant"
    monkeypatch.setattr(
        _torch._Corrector,
        "path",
        lambda self, node: None if node.name == name else path(self, node),
    )
    with pytest.warns(qnnsim.ModelWarning, match="the quantizers /features/features.0"):
        qnnsim.compile(module, torch.zeros(1, *networks.Waveform.shape))


def test_a_trace_has_the_integers_of_the_module():
    module = calibrated(networks.Waveform)
    x = images(networks.Waveform, 4)
    maps = qnnsim.compile(module, x[:1]).trace(x)
    seen = []
    hook = module.features[3].register_forward_hook(lambda _, __, y: seen.append(y))
    with torch.no_grad():
        module.double()(x.double())
    hook.remove()
    module.float()
    scale = float(module.features[3].act_quant.scale())
    # The first layer ends with its max pool, so compare after it.
    codes = torch.nn.functional.max_pool1d(seen[0] / scale, 2).round().numpy()
    first = next(iter(maps.values()))
    assert first.scale == pytest.approx(scale)
    assert np.array_equal(first.values.reshape(codes.shape), codes)
    assert (first.bit_width, first.signed, first.zero_point) == (4, False, 0)


def test_a_module_in_training_stays_in_training():
    module = calibrated(networks.Residual)
    module.train()
    module.bn0.eval()
    qnnsim.compile(module, torch.zeros(1, 3, 8, 8))
    assert module.training
    assert module.relu0.training
    assert not module.bn0.training


def test_a_float_module_is_refused_with_what_to_do():
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU())
    with pytest.raises(qnnsim.ExportError) as caught:
        qnnsim.compile(module, torch.zeros(1, 1, 8, 8))
    assert "`Sequential` has no quantized layers" in str(caught.value)
    assert "brevitas.nn" in str(caught.value)
    assert isinstance(caught.value, qnnsim.UnsupportedModel)


def test_an_example_is_asked_for():
    with pytest.raises(qnnsim.InvalidInput, match="needs an example of its input"):
        qnnsim.compile(calibrated(networks.OneBit))


def test_brevitas_is_asked_for(monkeypatch):
    module = calibrated(networks.OneBit)
    monkeypatch.setitem(sys.modules, "brevitas", None)
    with pytest.raises(qnnsim.MissingPackage, match="pip install brevitas"):
        qnnsim.compile(module, torch.zeros(1, 1, 8, 8))


def test_a_module_that_computes_something_else_is_refused():
    class Changing(networks.OneBit):
        """What is traced is not what it computes later."""

        def forward(self, x):
            factor = 1.0 if torch.jit.is_tracing() else -1.0
            return super().forward(x * factor)

    module = calibrated(Changing)
    with pytest.raises(qnnsim.ExportError, match="the outputs differ from the module's"):
        qnnsim.compile(module, torch.randn(1, 1, 8, 8))


def test_a_module_is_compared_on_pictures_of_every_form():
    module = calibrated(networks.Residual)
    x = images(networks.Residual, 4).numpy()
    program = qnnsim.compile(module, x[:1])
    usual = qnnsim.verify(module, program, x)
    last = qnnsim.verify(module, program, np.moveaxis(x, 1, -1))
    assert last.module == usual.module
    assert qnnsim.verify(module, program, x[0]).images == 1


def test_a_sweep_takes_modules():
    module = calibrated(networks.Waveform)
    example = torch.zeros(1, *networks.Waveform.shape)
    sweep = qnnsim.sweep([module], {"mac.cols": [8, 16]}, example_input=example)
    program = qnnsim.compile(module, example, hw={"mac.cols": 8})
    assert list(sweep.points.cycles)[0] == program.profile().cycles.warm
    with pytest.raises(qnnsim.InvalidInput, match="needs an example of its input"):
        qnnsim.sweep([module], {"mac.cols": [8, 16]})


def test_int_quant_tensors_are_images():
    module = calibrated(networks.Waveform)
    x = images(networks.Waveform, 2)
    program = qnnsim.compile(module, x[:1])
    quantized = qnn.QuantIdentity(act_quant=networks.ConstInput, return_quant_tensor=True).eval()(x)
    assert np.array_equal(program.predict(quantized), program.predict(x))
