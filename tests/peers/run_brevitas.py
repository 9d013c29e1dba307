"""TCV in Brevitas with its quantizers, one thread: python3 run_brevitas.py BITS IMAGES COUNT"""

import pathlib
import sys

import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "programs/train"))
from mnist import read_images  # noqa: E402
from tcv import Tcv  # noqa: E402

BATCH = 16


def main():
    bits, count = int(sys.argv[1]), int(sys.argv[3])
    images = torch.from_numpy(read_images(sys.argv[2]))[:count]
    torch.set_num_threads(1)
    # Untrained weights take as long as trained ones.
    model = Tcv(bits, bits).eval()
    with torch.no_grad():
        for first in range(0, count, BATCH):
            model(images[first : first + BATCH])


if __name__ == "__main__":
    main()
