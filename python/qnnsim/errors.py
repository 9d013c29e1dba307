"""Exceptions of qnnsim: each has the text that the command line prints, and a type to catch."""

from __future__ import annotations

__all__ = [
    "DoesNotFit",
    "ExportError",
    "InvalidHardware",
    "InvalidInput",
    "MalformedProgram",
    "MissingPackage",
    "QnnsimError",
    "Trap",
    "UnsupportedModel",
]


class QnnsimError(Exception):
    """Base of all exceptions that qnnsim raises on its own."""


class UnsupportedModel(QnnsimError, ValueError):
    """The model holds what cannot be compiled exactly for any hardware point.

    Attributes
    ----------
    nodes : list of (str or None)
        Name of the node for each reason; None where a reason is about the model as a whole.
    """

    def __init__(self, message: str, nodes: list[str | None] | None = None) -> None:
        super().__init__(message)
        self.nodes: list[str | None] = nodes or []


class ExportError(UnsupportedModel):
    """A torch module cannot be exported, or what was exported differs from it."""


class DoesNotFit(QnnsimError, ValueError):
    """The network does not fit the hardware point, or its code is made for another point."""


class InvalidHardware(QnnsimError, ValueError):
    """There is no such hardware parameter, value, combination or technology."""


class InvalidInput(QnnsimError, ValueError):
    """An array or another argument is not what the call takes."""


class MalformedProgram(QnnsimError, ValueError):
    """Bytes are not a program file of this version."""


class Trap(QnnsimError, RuntimeError):
    """The machine traps, or a proof about the program fails."""


class MissingPackage(QnnsimError, ImportError):
    """A call needs a package that is not installed; the message names it."""
