"""Draws ten digits, 28x28 grey, as a hand with a soft round pen would: digit_0.png .. digit_9.png.

White ink on black, the longer side 20 pixels, the centre of mass in the middle: MNIST's convention, but
no MNIST data. The same seed gives the same bytes.

    python3 programs/digits/draw.py [--seed N] [--out DIR]
"""

import argparse
import math
import pathlib
import random
import struct
import zlib

import numpy as np

SIDE = 28  # pixels of the image
BOX = 20.0  # pixels of the longer side of the ink
PEN_RADIUS = 0.6  # pixels of full ink around the stroke
PEN_EDGE = 1.4  # pixels over which the ink fades out
WOBBLE = 0.035  # how far the hand strays, in widths of the digit
OVERSAMPLING = 4  # samples a pixel, in each direction


def line(*corners):
    """A polyline through the corners, 24 points a side."""
    points = [
        (x0 + (x1 - x0) * t / 24, y0 + (y1 - y0) * t / 24)
        for (x0, y0), (x1, y1) in zip(corners, corners[1:])
        for t in range(24)
    ]
    return points + [corners[-1]]


def arc(x, y, rx, ry, start, end):
    """Part of an ellipse; degrees, 0 to the right, growing clockwise as y points down."""
    angles = (math.radians(start + (end - start) * t / 48) for t in range(49))
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]


def eight(x, y, rx, ry, start, end):
    """Part of a figure of eight that crosses itself at (x, y); degrees from the top, leftwards first."""
    angles = (math.radians(start + (end - start) * t / 96) for t in range(97))
    return [(x - rx * math.sin(2 * a), y - ry * math.cos(a)) for a in angles]


# The strokes of each digit, in a box from (0, 0) at the top left to (1, 1.4) at the bottom right.
DIGITS = [
    [arc(0.5, 0.7, 0.45, 0.7, -70, 295)],
    [line((0.36, 0.26), (0.5, 0.0), (0.5, 1.4))],
    [arc(0.48, 0.4, 0.42, 0.4, -160, 30) + line((0.84, 0.6), (0.05, 1.36), (1.0, 1.34))],
    [arc(0.42, 0.36, 0.42, 0.34, -150, 85), arc(0.42, 1.03, 0.48, 0.36, -80, 155)],
    [line((0.12, 0.0), (0.05, 0.72), (0.9, 0.7)), line((0.82, 0.0), (0.74, 1.4))],
    [line((0.95, 0.02), (0.25, 0.04), (0.16, 0.62)) + arc(0.4, 0.96, 0.48, 0.42, -120, 150)],
    [arc(0.95, 0.85, 0.8, 0.85, -110, -170) + arc(0.5, 1.02, 0.38, 0.36, 180, -170)],
    [line((0.05, 0.08), (0.95, 0.04), (0.42, 1.4))],
    [eight(0.5, 0.7, 0.38, 0.7, 15, 365)],
    [arc(0.48, 0.4, 0.38, 0.38, -20, -340) + line((0.88, 0.3), (0.8, 1.4))],
]


def handwriting(strokes, rng):
    """The strokes as a hand makes them: slanted as a whole, each with a slow wobble of its own."""
    slant = rng.uniform(0.08, 0.22)
    points = []
    for stroke in strokes:
        phase_x, phase_y = rng.uniform(0, math.tau), rng.uniform(0, math.tau)
        waves = rng.uniform(0.7, 1.6)
        for i, (x, y) in enumerate(stroke):
            turn = math.tau * waves * i / len(stroke)
            x += WOBBLE * math.sin(turn + phase_x)
            y += WOBBLE * math.sin(turn + phase_y)
            points.append((x + slant * (0.7 - y), y))
    return np.array(points)


def ink(points):
    """The image of a pen that visits the points, as SIDE x SIDE floats from 0 to 1."""
    count = SIDE * OVERSAMPLING
    centres = (np.arange(count) + 0.5) / OVERSAMPLING
    dx = centres[None, :, None] - points[:, 0]
    dy = centres[:, None, None] - points[:, 1]
    distance = np.sqrt(dx * dx + dy * dy).min(axis=2)
    fine = np.clip((PEN_RADIUS + PEN_EDGE - distance) / PEN_EDGE, 0.0, 1.0)
    return fine.reshape(SIDE, OVERSAMPLING, SIDE, OVERSAMPLING).mean(axis=(1, 3))


def draw(strokes, rng):
    """One digit as SIDE x SIDE bytes: fitted to the box, then moved so that its mass is centred."""
    points = handwriting(strokes, rng)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = (BOX - 2 * (PEN_RADIUS + PEN_EDGE / 2)) / (high - low).max()
    points = (points - (low + high) / 2) * scale + SIDE / 2

    image = ink(points)
    centres = np.arange(SIDE) + 0.5
    mass = np.array([image.sum(axis=0) @ centres, image.sum(axis=1) @ centres]) / image.sum()
    image = ink(points + SIDE / 2 - mass)
    return np.rint(image * 255).astype(np.uint8)


def png(image):
    """An 8-bit grey PNG. Stored without compression, so that no version of zlib changes a byte."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    height, width = image.shape
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows, 0))
        + chunk(b"IEND", b"")
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, help="of slant and wobble")
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path(__file__).parent, metavar="DIR"
    )
    options = parser.parse_args()

    for digit, strokes in enumerate(DIGITS):
        # A generator a digit: redrawing one leaves the others as they are.
        rng = random.Random(options.seed * 10 + digit)
        (options.out / f"digit_{digit}.png").write_bytes(png(draw(strokes, rng)))


if __name__ == "__main__":
    main()
