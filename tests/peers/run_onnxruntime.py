"""Runs a model on all images of an IDX file, one thread: python3 run_onnxruntime.py MODEL IMAGES BATCH"""

import sys

import onnxruntime

from mnist import read_images


def main():
    model, images, batch = sys.argv[1], read_images(sys.argv[2]), int(sys.argv[3])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    for first in range(0, len(images), batch):
        session.run(None, {name: images[first : first + batch]})


if __name__ == "__main__":
    main()
