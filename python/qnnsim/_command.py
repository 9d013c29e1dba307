"""The program `qnnsim`, as the package carries it."""

from __future__ import annotations

import signal
import sys

from . import _qnnsim


def main() -> None:
    """Runs the command line with the arguments of this process, and exits with its code."""
    # Ctrl-C and a closed pipe end it at once, as they end a program that is not in Python.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(_qnnsim.command(["qnnsim", *sys.argv[1:]]))
