"""The native part of the package."""

from collections.abc import Callable, Sequence
from typing import Any, TypedDict, final

from numpy.typing import NDArray

__all__ = [
    "hardware",
    "hardware_settings",
    "parameters",
    "Model",
    "Session",
    "verify",
    "sweep",
    "command",
    "TRACKS",
    "__version__",
]

__version__: str
TRACKS: list[str]

_Watch = Callable[[int, int], None] | None

class _Hardware(TypedDict):
    values: dict[str, int]
    technology: str
    name: str
    fingerprint: str
    memories: dict[str, dict[str, int]]
    area: dict[str, Any]
    clock: dict[str, Any] | None

class _Map(TypedDict):
    name: str
    bits: int
    signed: bool
    scale: list[float] | None
    zero_point: int | None
    values: NDArray[Any]

@final
class Model:
    def __new__(
        cls,
        name: str,
        file: bytes,
        pixel_scale: Sequence[float],
        pixel_offset: Sequence[float],
        classes: Sequence[str],
        unsigned_1bit_relu: bool,
    ) -> Model: ...
    @property
    def name(self) -> str: ...
    @property
    def warnings(self) -> list[str]: ...
    @property
    def layers(self) -> list[str]: ...

@final
class Session:
    @staticmethod
    def compile(model: Model, hw: str) -> Session: ...
    @staticmethod
    def load(file: bytes) -> Session: ...
    def save(self) -> bytes: ...
    @property
    def name(self) -> str: ...
    @property
    def hw(self) -> str: ...
    @property
    def input_shape(self) -> tuple[int, ...]: ...
    @property
    def outputs(self) -> list[tuple[str, list[int]]]: ...
    @property
    def classes(self) -> list[str]: ...
    @property
    def pixels(self) -> tuple[list[float], list[float]]: ...
    def predict(
        self, x: NDArray[Any], integers: bool, watch: _Watch
    ) -> tuple[list[tuple[str, NDArray[Any]]], int]: ...
    def report(self, tech: str | None, clock_mhz: int | None) -> dict[str, Any]: ...
    def trace(self, x: NDArray[Any], watch: _Watch) -> list[_Map]: ...
    def explain(self) -> dict[str, Any]: ...
    def timeline(self, cold: bool) -> list[tuple[Any, ...]]: ...
    def trace_events(self, cold: bool) -> str: ...

def hardware(text: str) -> _Hardware: ...
def hardware_settings(text: str) -> str: ...
def parameters() -> list[tuple[str, str, int, int, str]]: ...
def verify(
    model: Model, session: Session, x: NDArray[Any], float32: bool, watch: _Watch
) -> list[dict[str, Any]]: ...
def sweep(
    models: Sequence[Model],
    space: dict[str, Any],
    objectives: Sequence[str],
    filter: bool,
    shard: tuple[int, int],
    watch: _Watch,
) -> dict[str, Any]: ...
def command(args: Sequence[str]) -> int: ...
