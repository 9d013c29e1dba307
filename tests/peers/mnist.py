"""The images of MNIST as the network TCV takes them."""

import gzip

import numpy as np


def read_images(path):
    """Pixels less 128 in float32, of shape [N, 1, 28, 28], from an IDX file."""
    with gzip.open(path) as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16)
    return pixels.reshape(-1, 1, 28, 28).astype(np.float32) - 128
