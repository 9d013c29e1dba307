"""What the notebooks keep of their last run."""

from __future__ import annotations

import json
import re

import pytest
from conftest import ROOT

NOTEBOOKS = sorted((ROOT / "python" / "notebooks").glob("*.ipynb"))

#: Folders that only one machine has.
FOLDERS = "home|root|tmp|usr|opt|var|mnt|work|Users"
MACHINE = re.compile(rf"(?<![\w.])/({FOLDERS})/|site-packages|\\\\Users")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_keeps_outputs_and_pictures_and_no_place(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert not MACHINE.search(json.dumps({**notebook, "cells": []}))
    outputs = []
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "code":
            continue
        # All of them ran, in their order, and none failed.
        assert cell["execution_count"] is not None, number
        outputs += cell["outputs"]
    assert not any(output["output_type"] == "error" for output in outputs)
    data = [output.get("data", {}) for output in outputs]
    # Pictures are bytes, in which a folder may turn up by chance.
    said = [{k: v for k, v in one.items() if k != "image/png"} for one in data]
    said += [output.get("text", "") for output in outputs]
    assert not MACHINE.search(json.dumps(said))
    assert any("image/png" in one for one in data)
    assert any("text/html" in one for one in data)


def test_there_are_the_three_that_the_readme_names():
    readme = (ROOT / "python" / "README.md").read_text(encoding="utf-8")
    assert len(NOTEBOOKS) == 3
    for path in NOTEBOOKS:
        assert f"notebooks/{path.name}" in readme
