"""Executes the notebooks of this folder; with --write they keep their outputs."""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Leaves out what says nothing to a reader: when and how a cell ran, and on what machine."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
        for output in cell.outputs:
            # The text beside a picture or a table says at which address it lay.
            data = output.get("data", {})
            if "text/plain" in data:
                data["text/plain"] = re.sub(r" at 0x[0-9a-f]+", "", data["text/plain"])
    notebook.metadata.language_info = {"name": "python"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="notebooks; all if none is named")
    parser.add_argument("--write", action="store_true", help="keep the outputs")
    args = parser.parse_args()
    for path in sorted(HERE.glob("*.ipynb")):
        if args.names and path.stem not in args.names:
            continue
        started = time.monotonic()
        notebook = nbformat.read(path, as_version=4)
        words = {
            "timeout": 900,
            "kernel_name": "python3",
            "resources": {"metadata": {"path": HERE}},
        }
        NotebookClient(notebook, **words).execute()
        print(f"{path.name}: {time.monotonic() - started:.0f} s", flush=True)
        if args.write:
            tidy(notebook)
            nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
