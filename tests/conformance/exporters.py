"""Files as Brevitas writes them, against the module that they were written from.

    pip install -r python/requirements/brevitas-0.13.txt
    python3 tests/conformance/exporters.py target/release/qnnsim

Networks with random weights, exported to QONNX and to QCDQ, by the exporter of torch.export where there is one and by
TorchScript. The module computes in float32, so an image may differ where a value lies near a boundary of its
quantizer: 5 of 64 are let pass, and said.
"""

import argparse
import logging
import pathlib
import subprocess
import sys
import tempfile
import warnings

import brevitas.nn as qnn
import numpy as np
import torch
from brevitas.export import export_onnx_qcdq, export_qonnx
from brevitas.quant import Int8ActPerTensorFloat, Uint8ActPerTensorFloat

IMAGES, TIES = 64, 5


def conv(inputs, outputs, kernel=3, bits=4, **options):
    return qnn.QuantConv2d(inputs, outputs, kernel, weight_bit_width=bits, bias=False, **options)


def relu(bits=4):
    return qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=bits)


class Residual(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = conv(4, 4, padding=1), conv(4, 4, padding=1)
        self.act, self.out = relu(), relu()

    def forward(self, x):
        return self.out(self.second(self.act(self.first(x))) + x)


class Joined(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.act = conv(4, 3), conv(4, 5), relu()

    def forward(self, x):
        return torch.cat([self.act(self.a(x)), self.act(self.b(x))], 1)


def networks():
    """Name, shape of an image and layers of each network."""
    image = lambda: qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat, bit_width=6, return_quant_tensor=False)
    dense = lambda inputs: qnn.QuantLinear(inputs, 5, bias=True, weight_bit_width=4)
    flat, maps = torch.nn.Flatten, (4, 8, 8)
    yield "convolutions", maps, [image(), conv(4, 6), torch.nn.BatchNorm2d(6), relu(), conv(6, 4), relu(), flat(), dense(64)]
    yield "depthwise", maps, [image(), conv(4, 4, groups=4), relu(), conv(4, 6, kernel=1), relu(), flat(), dense(216)]
    yield "MaxPool", maps, [image(), conv(4, 4), relu(), torch.nn.MaxPool2d(2), flat(), dense(36)]
    yield "mean", maps, [image(), conv(4, 6), relu(), torch.nn.AdaptiveAvgPool2d(1), flat(), dense(6)]
    yield "residual", maps, [image(), Residual(), flat(), dense(256)]
    yield "joined", maps, [image(), Joined(), flat(), dense(288)]
    yield "hard tanh", maps, [image(), conv(4, 4), qnn.QuantHardTanh(bit_width=4, min_val=-1.0, max_val=1.0), flat(), dense(144)]
    yield "Sigmoid as the head", (12,), [image(), dense(12), relu(), dense(5), torch.nn.Sigmoid()]
    yield "one dimension", (4, 16), [image(), qnn.QuantConv1d(4, 6, 3, bias=False, weight_bit_width=4), relu(), flat(), dense(84)]


def exports(module, example, folder):
    """Name and path of each file that the exporters write, or the error of one that does not."""
    for form, export in (("QONNX", export_qonnx), ("QCDQ", export_onnx_qcdq)):
        for dynamo in (True, False):
            path = folder / f"{form}-{dynamo}.onnx"
            try:
                export(module, args=example, export_path=str(path), dynamo=dynamo)
                yield f"{form} dynamo={dynamo}", path, None
            except Exception as error:  # whatever the exporter raises
                yield f"{form} dynamo={dynamo}", path, str(error).splitlines()[0][:120]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=pathlib.Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    count = failures = 0
    run = lambda *words: subprocess.run([arguments.binary, *map(str, words)], capture_output=True, text=True)
    for name, shape, layers in networks():
        torch.manual_seed(1)
        module = torch.nn.Sequential(*layers)
        with torch.no_grad():
            # Statistics of the quantizers and of the normalization.
            for _ in range(20):
                module(torch.randn(16, *shape))
            module.eval()
            images = torch.randn(IMAGES, *shape)
            # One at a time, as the file has it.
            right = np.concatenate([module(image[None]).numpy() for image in images])
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            for form, path, error in exports(module, images[:1], folder):
                if error:
                    print(f"{name}, {form}: not exported: {error}")
                    continue
                count += 1
                program, output = folder / "program.bin", folder / "real.npy"
                np.save(folder / "images.npy", images.numpy())
                done = run("compile", path, "-o", program)
                if done.returncode == 0:
                    done = run("eval", program, "--images", folder / "images.npy", "--output", output)
                if done.returncode:
                    print(f"{name}, {form}: refused\n{done.stderr}")
                    failures += 1
                    continue
                own = np.load(output).reshape(right.shape)
                differ = (~np.isclose(own, right, rtol=1e-4, atol=1e-5)).any(axis=1).sum()
                failures += differ > TIES
                print(f"{name}, {form}: {differ} of {IMAGES} images differ" if differ else f"{name}, {form}: equal")
    print(f"{count - failures} of {count} files are right")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
