"""`python -m qnnsim` is the command line."""

from ._command import main

main()
