"""Writes the corpus, one small input of each kind, and the dictionaries, from the files of the
repository.

    python3 fuzz/seeds.py
"""

import gzip
import io
import pathlib
import re
import struct
import zipfile
import zlib

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent

# A grey picture of 8 by 8 pixels, all of one value, as a baseline JPEG with the shortest tables.
JPEG = bytes.fromhex(
    "ffd8ffdb004300" + "01" * 64 + "ffc0000b080008000801011100"
    "ffc40014000100000000000000000000000000000000"
    "ffc40014100100000000000000000000000000000000"
    "ffda0008010100003f003fffd9"
)


def seed(target, name, data):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def dictionary(target, *texts):
    """The words of texts, as libFuzzer reads them."""
    words = sorted({word for text in texts for word in re.findall(r"[.\w]{3,24}", text)})
    folder = HERE / "dictionaries"
    folder.mkdir(exist_ok=True)
    lines = [f'"{word}"\n' for word in words if word.isascii() and not word.isdigit()]
    (folder / target).write_text("".join(lines))


def npy(dtype, shape, body):
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + body


def npz(arrays):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), array)
    return file.getvalue()


def png():
    def chunk(kind, body):
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    rows = b"".join(b"\x00" + bytes([row * 4 + i for i in range(4)]) for row in range(4))
    head = struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def main():
    assembly = (HERE / "products.qnn").read_text()
    seed("assembly", "products.qnn", assembly.encode())
    dictionary("assembly", assembly, (ROOT / "programs" / "hello.qnn").read_text())
    spaces = [path.read_text() for path in sorted((ROOT / "programs").glob("sweep*.ron"))]
    for path in sorted((ROOT / "hardware").glob("*.ron")):
        seed("points", path.name, path.read_bytes())
    for number, space in enumerate(spaces):
        seed("points", f"space{number}.ron", space.encode())
    seed("points", "tied.ron", TIED.encode())
    parameters = re.findall(r'"(\w+\.\w+)"', (ROOT / "isa/src/hardware.rs").read_text())
    dictionary("points", TIED, *spaces, *parameters)
    seed("images", "u1.npy", npy("|u1", (2, 1, 2, 2), bytes(range(8))))
    floats = npy("<f4", (1, 4), struct.pack("<4f", 0, 1, -1, 0.5))
    seed("images", "f4.npy", floats)
    seed("images", "one.npz", npz({"x": floats}))
    idx = b"\x00\x00\x08\x03" + struct.pack(">3I", 1, 2, 2) + bytes(4)
    seed("images", "idx", idx)
    seed("images", "idx.gz", gzip.compress(idx, mtime=0))
    seed("images", "grey.png", png())
    seed("images", "grey.jpg", JPEG)
    seed("journal", "lines", b'{"Sweep":"a whole"}\n{"Trap":[0,"why"]}\n{"Unfit":[1,"why"]}\n')
    seed("journal", "drawn", bytes(range(1, 256)))
    for target in ("program", "instructions", "onnx"):
        seed(target, "zeros", bytes(400))
        seed(target, "counting", bytes(range(256)) * 2)
    # corpus/manifest holds a manifest as `qnnsim sweep` writes it, in one line, and its rows.
    manifest = (HERE / "corpus" / "manifest" / "two_points").read_text()
    dictionary("manifest", *re.findall(r'"(\w+)":', manifest))


TIED = """(
    programs: ["a.qnn"],
    base: (technology: "45nm", mac: (rows: 4)),
    axes: { "mac.cols": List([1, 2, 4]), "dram.latency": Range(from: 1, to: 9, step: 4) },
    tied: { "thr.cols": "mac.cols" },
    constraints: ["mac.rows * mac.cols <= 8", "dram.latency > 1 || mac.cols == 1"],
    sample: (points: 2, seed: 1),
)
"""

if __name__ == "__main__":
    main()
