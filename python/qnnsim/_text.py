"""Numbers and tables as a person reads them, in text and in HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import ClassVar

_PREFIXES = [(1e12, "J"), (1e9, "mJ"), (1e6, "uJ"), (1e3, "nJ"), (1.0, "pJ")]


def energy(pj: float) -> str:
    """An energy in the unit that fits it."""
    size, unit = next((p for p in _PREFIXES if pj >= p[0]), _PREFIXES[-1])
    return f"{pj / size:,.1f} {unit}"


def duration(us: float) -> str:
    """A time in the unit that fits it."""
    return f"{us / 1000:,.2f} ms" if us >= 1000 else f"{us:,.1f} us"


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Lines of a name and a text each."""
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int = 1) -> str:
    """A table of text; columns from `numbers` on are ranged right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = [
            f"{cell:<{width}}" if i < numbers else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(row, widths))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join(map(line, [head, *rows]))


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int = 1) -> str:
    """The same in HTML. Cells that begin with ``<svg`` are markup of ours."""
    left, right = "text-align:left", "text-align:right"

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f'<{tag} style="{left if i < numbers or cell.startswith("<svg") else right}">'
            f"{cell if cell.startswith('<svg') else escape(cell)}</{tag}>"
            for i, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{cells('th', head)}</tr></thead><tbody>{body}</tbody></table>"


def html_facts(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """A title and lines of a name and a text each."""
    lines = "".join(
        f'<tr><td style="text-align:left;opacity:.7">{escape(name)}</td>'
        f'<td style="text-align:left">{escape(text)}</td></tr>'
        for name, text in rows
    )
    return f"<div><strong>{escape(title)}</strong><table><tbody>{lines}</tbody></table></div>"


def bar(share: float, colour: str, width: int = 150) -> str:
    """A horizontal bar, `share` from 0 to 1 of its width."""
    length = max(0.0, min(1.0, share)) * width
    return (
        f'<svg width="{width}" height="12" role="img" aria-label="{share:.1%}">'
        f'<rect width="{width}" height="12" fill="currentColor" opacity=".08"/>'
        f'<rect width="{length:.1f}" height="12" fill="{colour}"/></svg>'
    )


class Shown:
    """What shows itself: a title, facts and a table, as text and, in a notebook, as HTML."""

    #: Columns of the table that hold words; those behind them hold numbers.
    _words: ClassVar[int] = 1

    def _title(self) -> str:
        raise NotImplementedError

    def _facts(self) -> list[tuple[str, str]]:
        return []

    def _table(self, *, html: bool) -> tuple[Sequence[str], list[list[str]]]:
        """Head and rows; in HTML a cell may be a picture."""
        raise NotImplementedError

    def __repr__(self) -> str:
        head, rows = self._table(html=False)
        above = [self._title()]
        if lines := self._facts():
            above.append(facts(lines))
        return "\n".join(above) + "\n\n" + table(head, rows, numbers=self._words)

    def _repr_html_(self) -> str:
        head, rows = self._table(html=True)
        above = html_facts(self._title(), self._facts())
        return above + html_table(head, rows, numbers=self._words)
