"""Trains the network TCV on MNIST with Brevitas and writes it as QONNX, as it was trained.

DIR holds the four files of MNIST as they are distributed, *-ubyte.gz.

    python3 programs/train/train.py --data DIR --weight-bits 1 --act-bits 1 --out tcv_w1a1.onnx
"""

import argparse
import gzip
import pathlib
import time

import numpy as np
import qnnsim
import torch
from tcv import PIXEL_OFFSET, Tcv
from torch.nn import functional as F

BATCH = 128
LEARNING_RATE_MAX = 5e-3


def load(directory, part):
    """The images, as bytes [N, 1, 28, 28], and the labels of "train" or "t10k"."""
    with gzip.open(directory / f"{part}-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    with gzip.open(directory / f"{part}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64))


def real(images):
    """The network's real input for images of bytes."""
    return images.float() + PIXEL_OFFSET


def shifted(images):
    """Every image moved by -1, 0 or 1 pixels in each direction; black comes in from outside."""
    padded = F.pad(images, (1, 1, 1, 1))
    count, _, height, width = images.shape
    image = torch.arange(count).view(-1, 1, 1)
    row = torch.randint(3, (count, 1, 1)) + torch.arange(height).view(1, -1, 1)
    column = torch.randint(3, (count, 1, 1)) + torch.arange(width).view(1, 1, -1)
    return padded[image, 0, row, column].unsqueeze(1)


def train(model, images, labels, epochs):
    """Adam with a one-cycle learning rate."""
    steps = len(images) // BATCH
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE_MAX, epochs * steps)
    model.train()
    for epoch in range(epochs):
        start, losses = time.monotonic(), 0.0
        for batch in torch.randperm(len(images))[: steps * BATCH].view(steps, BATCH):
            logits = model(real(shifted(images[batch])))
            loss = F.cross_entropy(logits, labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses += loss.item()
        seconds = time.monotonic() - start
        print(f"epoch {epoch + 1}: loss {losses / steps:.4f}, {seconds:.0f} s", flush=True)


@torch.no_grad()
def accuracy(model, images, labels):
    model.eval()
    batches = zip(images.split(1000), labels.split(1000))
    return sum((model(real(x)).argmax(1) == y).sum().item() for x, y in batches) / len(images)


def export(model, path):
    """Compiles the module and writes the model from which that was done: exported in memory, with
    what Brevitas writes wrongly corrected from the module."""
    program = qnnsim.compile(model, torch.zeros(1, 1, 28, 28), pixel_offset=PIXEL_OFFSET)
    path.write_bytes(program.model.onnx)
    corrections = program.model.corrections
    print(f"{path}: {len(corrections)} corrections", *corrections, sep="\n  ")
    print(program.profile())


def main():
    bits = range(1, 9)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    path = {"type": pathlib.Path, "required": True}
    parser.add_argument("--data", **path, metavar="DIR", help="the four files of MNIST")
    parser.add_argument("--out", **path, metavar="FILE.onnx")
    parser.add_argument("--weight-bits", type=int, default=1, choices=bits)
    parser.add_argument("--act-bits", type=int, default=1, choices=bits)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--limit", type=int, metavar="N", help="train on the first N images (128 or more)"
    )
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    images, labels = load(options.data, "train")
    model = Tcv(options.weight_bits, options.act_bits)
    train(model, images[: options.limit], labels[: options.limit], options.epochs)
    print(f"accuracy on the test images: {accuracy(model, *load(options.data, 't10k')):.2%}")
    export(model, options.out)


if __name__ == "__main__":
    main()
