"""Progress of long work, in a notebook and in a terminal."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Watch = Callable[[int, int], None]

# Work that takes less shows nothing.
DELAY_S = 1.0


@contextmanager
def progress(unit: str, show: bool | None) -> Iterator[Watch | None]:
    """Gives a function to call with steps done and steps in all, which draws them.

    Parameters
    ----------
    unit : str
        What a step is, in the singular.
    show : bool or None
        None shows progress where a person looks: in a notebook, or on a terminal.
    """
    if show is None:
        show = "ipykernel" in sys.modules or sys.stderr.isatty()
    if not show:
        yield None
        return
    with warnings.catch_warnings():
        # tqdm warns where a notebook has no ipywidgets, and then draws text.
        warnings.simplefilter("ignore")
        try:
            from tqdm.auto import tqdm
        except ImportError:
            yield from _plain(unit)
            return
        bar = tqdm(total=0, unit=f" {unit}", delay=DELAY_S, leave=False)
    try:

        def watch(done: int, total: int) -> None:
            if bar.total != total:
                bar.total = total
            bar.update(done - bar.n)

        yield watch
    finally:
        bar.close()


def _plain(unit: str) -> Iterator[Watch]:
    """Progress without tqdm: one line that is written again and again."""
    started = time.monotonic()
    written = False

    def watch(done: int, total: int) -> None:
        nonlocal written
        if time.monotonic() - started > DELAY_S and total:
            sys.stderr.write(f"\r{done:,} of {total:,} {unit}s")
            sys.stderr.flush()
            written = True

    try:
        yield watch
    finally:
        if written:
            sys.stderr.write("\n")
