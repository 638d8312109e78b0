"""Numbers with what they count, exact as Curb keeps them. Nothing here needs Ray."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

_MILLI = 1000
_MEMORY_UNITS = (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1))
_LABELS = {"cpu": "CPU", "gpu": "GPU"}


@dataclass(frozen=True)
class Quantity:
    """One number of a limit, such as `2 CPU`. `str()` is as Curb writes it."""

    kind: str
    """`amount`, `jobs`, `time`, `resource_time`, `rate` or `priority`; a newer Curb may have others."""
    value: Fraction | None
    """Exact: CPUs, GPUs or custom units, bytes of memory, jobs, seconds, units times seconds, a count. None where this
    version does not know the kind."""
    resource: str | None = None
    """Of an amount: `cpu`, `memory`, `gpu`, `gpu:MODEL` or a custom name."""
    per_seconds: Fraction | None = None
    """Of a rate: in how long."""
    text: str = ""

    @classmethod
    def from_json(cls, raw: Any) -> Quantity:
        """Raises ValueError where it is not one of Curb's numbers."""
        if not isinstance(raw, Mapping) or len(raw) != 1:
            raise ValueError(f"not a quantity: {raw!r}")
        [(kind, inner)] = raw.items()
        try:
            return _READERS.get(kind, _unknown)(kind, inner)
        except (TypeError, KeyError) as error:
            raise ValueError(f"not a quantity: {raw!r}") from error

    def __str__(self) -> str:
        return self.text


def _whole(raw: Any) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise TypeError(f"not a whole number: {raw!r}")
    return raw


def _amount(kind: str, raw: Any) -> Quantity:
    resource, units = raw["resource"], _whole(raw["amount"])
    if resource == "memory":
        name, factor = next((u for u in _MEMORY_UNITS if units >= u[1]), _MEMORY_UNITS[-1])
        return Quantity(kind, Fraction(units), resource, text=f"{_decimal(units, factor, 2)} {name} memory")
    return Quantity(
        kind, Fraction(units, _MILLI), resource, text=f"{_decimal(units, _MILLI, 3)} {_label(resource)}"
    )  # fmt: skip


def _jobs(kind: str, raw: Any) -> Quantity:
    return Quantity(kind, Fraction(_whole(raw)), text="1 job" if raw == 1 else f"{raw} jobs")


def _time(kind: str, raw: Any) -> Quantity:
    return Quantity(kind, Fraction(_whole(raw), _MILLI), text=_duration(raw))


def _resource_time(kind: str, raw: Any) -> Quantity:
    resource, units = raw["resource"], _whole(raw["amount"])
    if resource == "memory":
        label, factor, value = "memory GiB", (1 << 30) * 3_600_000, Fraction(units, _MILLI)
    else:
        label, factor, value = _label(resource), _MILLI * 3_600_000, Fraction(units, _MILLI * _MILLI)
    return Quantity(kind, value, resource, text=f"{_decimal(units, factor, 1)} {label}-hours")


def _rate(kind: str, raw: Any) -> Quantity:
    count, per = _whole(raw["count"]), _whole(raw["per"])
    return Quantity(
        kind, Fraction(count), per_seconds=Fraction(per, _MILLI), text=f"{count} in {_duration(per)}"
    )  # fmt: skip


def _priority(kind: str, raw: Any) -> Quantity:
    return Quantity(kind, Fraction(_whole(raw)), text=str(raw))


def _unknown(kind: str, raw: Any) -> Quantity:
    return Quantity(kind, None, text=f"{kind} {json.dumps(raw)}")


_READERS = {
    "amount": _amount,
    "jobs": _jobs,
    "time": _time,
    "resource_time": _resource_time,
    "rate": _rate,
    "priority": _priority,
}


def _label(resource: str) -> str:
    if resource.startswith("gpu:"):
        return f"{resource.removeprefix('gpu:')} GPU"
    return _LABELS.get(resource, resource)


def _decimal(value: int, factor: int, places: int) -> str:
    """At most `places` decimals, rounded down, without zeros at the end."""
    whole, rest = divmod(value, factor)
    fraction = f"{rest * 10**places // factor:0{places}d}".rstrip("0")
    return f"{whole}.{fraction}" if fraction else str(whole)


def _duration(milliseconds: int) -> str:
    """The two largest units that matter: `2d 3h`, `1h 30m`, `45s`, `120ms`."""
    seconds = milliseconds // 1000
    if seconds == 0 and milliseconds > 0:
        return f"{milliseconds}ms"
    parts = ((seconds // 86_400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s"))
    first = next((i for i, (number, _) in enumerate(parts) if number), len(parts) - 1)
    shown = [parts[first], *[p for p in parts[first + 1 : first + 2] if p[0]]]
    return " ".join(f"{number}{unit}" for number, unit in shown)
