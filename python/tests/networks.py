"""Small modules of Brevitas: what a user might train, and what its exporters write wrongly."""

from __future__ import annotations

import brevitas.nn as qnn
import torch
from brevitas.inject.enum import FloatToIntImplType, QuantType, ScalingImplType
from brevitas.quant import (
    Int8ActPerTensorFloat,
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFloat,
    SignedBinaryActPerTensorConst,
    SignedTernaryWeightPerTensorConst,
    TruncTo8bit,
    Uint8ActPerTensorFloat,
)
from torch import nn


class BinaryWeight(Int8WeightPerTensorFloat):
    quant_type = QuantType.BINARY
    bit_width = 1


class FloorWeight(Int8WeightPerTensorFloat):
    float_to_int_impl_type = FloatToIntImplType.FLOOR


class CeilWeight(Int8WeightPerChannelFloat):
    float_to_int_impl_type = FloatToIntImplType.CEIL


class FloorAct(Uint8ActPerTensorFloat):
    float_to_int_impl_type = FloatToIntImplType.FLOOR


class CeilAct(Uint8ActPerTensorFloat):
    float_to_int_impl_type = FloatToIntImplType.CEIL


class TernaryWeight(SignedTernaryWeightPerTensorConst):
    """Values beyond 0.7 of the scale count, where rounding would take half of it."""

    quant_type = QuantType.TERNARY
    threshold = 0.7


class ConstInput(Int8ActPerTensorFloat):
    """A scale that is not learned, so that codes are known."""

    scaling_impl_type = ScalingImplType.CONST
    min_val = -4.0
    max_val = 4.0


def conv(inputs: int, outputs: int, **words: object) -> nn.Module:
    words = {"kernel_size": 3, "padding": 1, "bias": False, **words}
    if "weight_quant" not in words or words["weight_quant"] in (FloorWeight, CeilWeight):
        words["weight_bit_width"] = 4
    return qnn.QuantConv2d(inputs, outputs, **words)


def relu(bits: int = 4, quant: type = Uint8ActPerTensorFloat, **words: object) -> nn.Module:
    return qnn.QuantReLU(act_quant=quant, bit_width=bits, **words)


def identity(quant: type = Int8ActPerTensorFloat, **words: object) -> nn.Module:
    return qnn.QuantIdentity(act_quant=quant, **words)


class OneBit(nn.Module):
    """Integer activations of one bit, unsigned and signed, in a Sequential."""

    shape = (1, 8, 8)

    def __init__(self, signed: bool = False) -> None:
        super().__init__()
        middle = identity(bit_width=1) if signed else relu(1)
        self.features = nn.Sequential(
            identity(ConstInput), conv(1, 8), nn.BatchNorm2d(8), middle, conv(8, 8), relu()
        )
        self.head = qnn.QuantLinear(8 * 64, 10, bias=False, weight_bit_width=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).flatten(1))


class Rounding(nn.Module):
    """Weights and activations that are rounded down or up, and ternary ones."""

    shape = (1, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.input = identity(ConstInput)
        self.floor = conv(1, 4, weight_quant=FloorWeight)
        self.relu1 = relu(4, FloorAct)
        self.ceil = conv(4, 4, weight_quant=CeilWeight, bias=True)
        self.relu2 = relu(4, CeilAct)
        self.ternary = conv(4, 4, weight_quant=TernaryWeight)
        self.relu3 = relu(4)
        self.binary = qnn.QuantLinear(256, 10, weight_quant=BinaryWeight, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu1(self.floor(self.input(x)))
        x = self.relu3(self.ternary(self.relu2(self.ceil(x))))
        return self.binary(x.flatten(1))


class Weights(nn.Module):
    """A layer with weights of a quantizer that is given, and activations as QCDQ can hold them."""

    shape = (1, 8, 8)

    def __init__(self, quant: type) -> None:
        super().__init__()
        self.input = identity(ConstInput)
        self.conv = conv(1, 4, weight_quant=quant)
        self.relu = relu(4)
        self.head = qnn.QuantLinear(256, 10, bias=False, weight_bit_width=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.relu(self.conv(self.input(x))).flatten(1))


class Binary(nn.Module):
    """Signs, which are BipolarQuant and meant so."""

    shape = (1, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.input = identity(ConstInput)
        self.conv1 = conv(1, 8, weight_quant=BinaryWeight)
        self.bn = nn.BatchNorm2d(8)
        self.sign = identity(SignedBinaryActPerTensorConst)
        self.conv2 = conv(8, 8, weight_quant=BinaryWeight)
        self.relu = relu(2)
        self.head = qnn.QuantLinear(512, 10, bias=False, weight_bit_width=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.sign(self.bn(self.conv1(self.input(x))))
        return self.head(self.relu(self.conv2(x)).flatten(1))


class Truncated(nn.Module):
    """A mean that drops bits."""

    shape = (1, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.input = identity(ConstInput, return_quant_tensor=True)
        self.conv = conv(1, 8)
        self.relu = relu(4, return_quant_tensor=True)
        self.pool = qnn.TruncAvgPool2d(2, trunc_quant=TruncTo8bit, bit_width=4)
        self.head = qnn.QuantLinear(128, 10, bias=False, weight_bit_width=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.relu(self.conv(self.input(x)))).flatten(1))


class Residual(nn.Module):
    """A block whose two sums share a quantizer."""

    shape = (3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.input = identity(ConstInput)
        self.stem = conv(3, 8)
        self.bn0 = nn.BatchNorm2d(8)
        self.relu0 = relu()
        self.conv1 = conv(8, 8)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu1 = relu()
        self.conv2 = conv(8, 8)
        self.bn2 = nn.BatchNorm2d(8)
        self.join = identity(bit_width=8)
        self.relu2 = relu()
        self.head = qnn.QuantLinear(8, 10, bias=True, weight_bit_width=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu0(self.bn0(self.stem(self.input(x))))
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        x = self.relu2(self.join(x) + self.join(y))
        return self.head(x.mean((2, 3)))


class Depthwise(nn.Module):
    """Depthwise and pointwise layers, as MobileNet has them."""

    shape = (3, 16, 16)

    def __init__(self) -> None:
        super().__init__()
        parts: list[nn.Module] = [
            identity(ConstInput),
            conv(3, 8, stride=2),
            nn.BatchNorm2d(8),
            relu(),
        ]
        for inputs, outputs in ((8, 16), (16, 16)):
            parts += [
                conv(inputs, inputs, groups=inputs),
                nn.BatchNorm2d(inputs),
                relu(),
                conv(inputs, outputs, kernel_size=1, padding=0),
                nn.BatchNorm2d(outputs),
                relu(),
            ]
        self.features = nn.Sequential(*parts)
        self.head = qnn.QuantLinear(16, 10, bias=False, weight_bit_width=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean((2, 3)))


class Waveform(nn.Module):
    """One dimension: convolutions along time."""

    shape = (2, 64)

    def __init__(self) -> None:
        super().__init__()
        words = {"bias": False, "weight_bit_width": 4}
        self.features = nn.Sequential(
            identity(ConstInput),
            qnn.QuantConv1d(2, 8, 9, stride=2, padding=4, **words),
            nn.BatchNorm1d(8),
            relu(),
            nn.MaxPool1d(2),
            qnn.QuantConv1d(8, 16, 5, padding=2, **words),
            nn.BatchNorm1d(16),
            relu(),
        )
        self.head = qnn.QuantLinear(16 * 16, 6, bias=True, weight_bit_width=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).flatten(1))


ALL = [OneBit, Rounding, Binary, Truncated, Residual, Depthwise, Waveform]


def calibrated(kind: type, *words: object, seed: int = 0) -> nn.Module:
    """A module with random weights whose scales and means have seen a few batches."""
    torch.manual_seed(seed)
    module = kind(*words)
    module.train()
    for _ in range(6):
        module(torch.randn(16, *kind.shape))
    return module.eval()
