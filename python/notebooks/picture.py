"""Draws docs/notebook.png: what a notebook shows, by Chromium, from the outputs that it keeps.

python python/notebooks/picture.py
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from html import escape
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE.parents[1] / "docs" / "notebook.png"
NOTEBOOK = HERE / "from_brevitas_to_hardware.ipynb"
#: How the cells begin that are shown, in their order.
CELLS = ('programs["TCV_W1A1"].profile()', 'programs["TCV_W1A1"].timeline()')
SIZE = (800, 690)

STYLE = """
body { font: 13px system-ui, sans-serif; margin: 12px 16px; color: #222; background: #fff }
pre { font: 13px monospace; background: #f5f5f5; border: 1px solid #ddd; padding: 6px 10px;
      margin: 8px 0 }
table { border-collapse: collapse; margin: 4px 0 }
td, th { padding: 2px 8px; white-space: nowrap }
thead { border-bottom: 1px solid #bbb }
img { width: 100% }
"""


def html_of(cell: dict) -> str:
    """A cell with its input and what it shows."""
    parts = [f"<pre>{escape(''.join(cell['source']))}</pre>"]
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "text/html" in data:
            parts.append("".join(data["text/html"]))
        elif "image/png" in data:
            picture = "".join(data["image/png"]).replace("\n", "")
            parts.append(f'<img src="data:image/png;base64,{picture}">')
    return "".join(parts)


def main() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    shown = [c for begin in CELLS for c in cells if "".join(c["source"]).startswith(begin)]
    page = f"<!doctype html><style>{STYLE}</style>" + "".join(map(html_of, shown))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.html"
        file.write_text(page, encoding="utf-8")
        words = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--screenshot={TARGET}"]
        size = f"--window-size={SIZE[0]},{SIZE[1]}"
        subprocess.run(["chromium", *words, size, file.as_uri()], check=True, capture_output=True)
    print(f"{TARGET.name}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
