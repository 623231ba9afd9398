"""A trace: step by step, how a price came about. `ocs rate` and `ocs explain` show it.

Charging does not write one. It is made by the same catalogue and the same functions of prices, from what they say about
their results.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `facts`: the same for programs; amounts in the unit that their name says."""

    name: str
    value: str
    why: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"step": self.name, "value": self.value, **({"why": self.why} if self.why else {}), **self.facts}


@dataclass(slots=True)
class Trace:
    steps: list[Step] = field(default_factory=list)

    def add(self, name: str, value: object, why: str = "", **facts: Any) -> None:
        self.steps.append(Step(name, str(value), why, facts))
