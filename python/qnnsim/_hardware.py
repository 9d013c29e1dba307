"""Hardware points."""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import _qnnsim
from .errors import InvalidHardware

#: Keys of the table of parameters by their names in Python: ``mac_cols`` is ``mac.cols``.
KEYS: dict[str, str] = {row[0].replace(".", "_"): row[0] for row in _qnnsim.parameters()}


class HardwarePoint:
    """A point of the design space: a value for every hardware parameter, checked.

    Parameters
    ----------
    settings : mapping, path or HardwarePoint, optional
        Parameters by their keys, ``{"mac.cols": 32}``; or a file in RON or JSON; or a point to
        change.
    **changes : int
        Parameters by their keys with an underscore for the dot, ``mac_cols=32``; they go over
        `settings`. ``technology`` takes a name. What is not given has its default, which may
        follow from others.

    Raises
    ------
    InvalidHardware
        A parameter is unknown or out of range, or the values contradict each other.

    Examples
    --------
    >>> point = HardwarePoint(mac_cols=32)
    >>> point.mac_cols, point.thr_cols
    (32, 16)
    >>> point.area["dsp"]
    51
    """

    __slots__ = ("_about", "_given")
    _about: _qnnsim._Hardware
    _given: dict[str, Any]

    def __init__(
        self,
        settings: Mapping[str, Any] | str | os.PathLike[str] | HardwarePoint | None = None,
        /,
        **changes: Any,
    ) -> None:
        if isinstance(settings, HardwarePoint):
            given = dict(settings._given)
        elif isinstance(settings, (str, os.PathLike)):
            text = Path(settings).read_text(encoding="utf-8")
            given = _flat(json.loads(_qnnsim.hardware_settings(text)))
        else:
            given = _flat(settings or {})
        given.update({KEYS.get(name, name.replace("_", ".", 1)): v for name, v in changes.items()})
        self._given = given
        self._about = _qnnsim.hardware(self.to_json())

    def to_json(self) -> str:
        """The parameters that were given, as ``--hw`` of the command line reads them."""
        return json.dumps(self._given, default=_number)

    @property
    def given(self) -> dict[str, Any]:
        """Parameters that were given, by key."""
        return dict(self._given)

    @property
    def values(self) -> dict[str, int]:
        """Every parameter by its key."""
        return dict(self._about["values"])

    @property
    def name(self) -> str:
        """Rows, columns and lanes of the array, ``16x16x64``."""
        return self._about["name"]

    @property
    def technology(self) -> str:
        """Name of the technology whose energies reports use."""
        return self._about["technology"]

    @property
    def fingerprint(self) -> str:
        """Checksum of every parameter that results or cycles depend on."""
        return self._about["fingerprint"]

    @property
    def area(self) -> dict[str, Any]:
        """FPGA resources and silicon.

        ``lut``, ``ff``, ``bram36``, ``dsp`` are counts on a 7-series part, ``mm2`` is silicon
        without wires in mm2 (None where the technology has no areas), ``by_unit`` the same by unit,
        ``error`` the largest relative errors of the fit against held-out syntheses, and
        ``extrapolated`` says whether a parameter lies outside the range that was synthesized.
        """
        return self._about["area"]

    @property
    def clock(self) -> dict[str, Any] | None:
        """The highest clock by static timing, None where the technology tells no times.

        ``max_mhz`` is that of the longest path, ``by_unit`` has ``path_ns`` and ``mhz`` for each
        unit, ``error`` is the largest relative error against held-out netlists, and ``source``
        says where the times are from.
        """
        return self._about["clock"]

    @property
    def memories(self) -> dict[str, dict[str, int]]:
        """Banks, words, bits a word and bytes of each memory."""
        return self._about["memories"]

    def __getattr__(self, name: str) -> int:
        key = KEYS.get(name)
        if key is None:
            raise AttributeError(f"a hardware point has no attribute `{name}`")
        return self._about["values"][key]

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *KEYS]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, HardwarePoint):
            return NotImplemented
        return (self.values, self.technology) == (other.values, other.technology)

    def __hash__(self) -> int:
        return hash((tuple(self.values.items()), self.technology))

    def __reduce__(self) -> tuple[Any, ...]:
        return (HardwarePoint, (self._given,))

    def __repr__(self) -> str:
        given = ", ".join(f"{key.replace('.', '_')}={v!r}" for key, v in self._given.items())
        return f"HardwarePoint({given})"


def point(hw: Any) -> HardwarePoint:
    """The hardware point of an argument `hw`."""
    return hw if isinstance(hw, HardwarePoint) else HardwarePoint(hw)


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by their keys: groups, ``{"mac": {"cols": 32}}``, are written out."""
    if not isinstance(settings, Mapping):
        raise InvalidHardware(
            f"a hardware point is a mapping from parameters, a path or a HardwarePoint, not"
            f" {type(settings).__name__}\n  help: write {{'mac.cols': 32}}"
        )
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        inner = {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, Mapping) else None
        flat.update(inner if inner is not None else {str(key): value})
    return flat


def _number(value: Any) -> int:
    """A whole number of another type, as numpy has them."""
    try:
        return operator.index(value)
    except TypeError:
        raise InvalidHardware(f"{value!r} is not a whole number") from None
