"""Packages that are used where they are installed."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from .errors import MissingPackage


def need(name: str, purpose: str, otherwise: str = "") -> ModuleType:
    """Imports a package, or raises `MissingPackage` with what it is needed for."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        text = f"{purpose} needs the package `{package}`, which cannot be imported: {error}"
        text += f"\n  help: pip install {package}"
        raise MissingPackage(text + (f"; {otherwise}" if otherwise else "")) from error


def frame(rows: Any, columns: list[str] | None = None, *, of: str) -> Any:
    """A pandas.DataFrame of rows or columns."""
    pandas = need("pandas", f"a table of {of}", "`to_dict()` gives the same values")
    return pandas.DataFrame(rows, columns=columns)
