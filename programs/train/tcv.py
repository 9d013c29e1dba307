"""The network TCV as a Brevitas module."""

import brevitas.nn as qnn
from brevitas.inject.enum import QuantType, ScalingImplType
from brevitas.quant import Int8ActPerTensorFloat, Int8WeightPerTensorFloat, Uint8ActPerTensorFloat
from torch import nn

# The network sees pixel - 128: its signed input codes are the pixels with the top bit inverted, and zero
# padding is mid-grey.
PIXEL_OFFSET = -128


class PixelQuant(Int8ActPerTensorFloat):
    """Signed 8 bits with scale 1, so that the codes are the values."""

    scaling_impl_type = ScalingImplType.CONST
    min_val = -128.0
    max_val = 127.0


class BinaryWeightQuant(Int8WeightPerTensorFloat):
    """Weights of -scale and +scale, where scale is the largest magnitude of the tensor."""

    quant_type = QuantType.BINARY
    bit_width = 1


def weight_quant(bits):
    """The arguments of a layer with weights of so many bits."""
    if bits == 1:
        return {"weight_quant": BinaryWeightQuant}
    return {"weight_quant": Int8WeightPerTensorFloat, "weight_bit_width": bits}


class Tcv(nn.Module):
    """Two convolutions, each with a max pool, and two linear layers; no biases."""

    def __init__(self, weight_bits, act_bits):
        super().__init__()
        weights = weight_quant(weight_bits)

        def relu():
            return qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=act_bits)

        self.input = qnn.QuantIdentity(act_quant=PixelQuant)
        self.conv1 = qnn.QuantConv2d(1, 64, 3, padding=1, bias=False, **weights)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu1 = relu()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = qnn.QuantConv2d(64, 64, 3, padding=1, bias=False, **weights)
        self.bn2 = nn.BatchNorm2d(64)
        self.relu2 = relu()
        self.pool2 = nn.MaxPool2d(2)
        self.fc1 = qnn.QuantLinear(64 * 7 * 7, 64, bias=False, **weights)
        self.bn3 = nn.BatchNorm1d(64)
        self.relu3 = relu()
        self.out = qnn.QuantLinear(64, 10, bias=False, **weights)

    def forward(self, x):
        x = self.input(x)
        x = self.pool1(self.relu1(self.bn1(self.conv1(x))))
        x = self.pool2(self.relu2(self.bn2(self.conv2(x))))
        x = x.reshape(x.shape[0], -1)
        return self.out(self.relu3(self.bn3(self.fc1(x))))
