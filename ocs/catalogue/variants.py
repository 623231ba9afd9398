"""Rates that replace another one, for accounts with certain facts or between dates (HOT-ROA-3, -4, -7).

The applicable rate with most conditions is used; of several, the first in the file. If none applies, the rate without
conditions is used. A use without variants does not need this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ocs.values.use import RatedUse

FACTS_KEPT = 256
"""Size of the cache of rates by facts, for each use that has variants."""
NEVER = 2**53
"""Unix seconds: no end."""


@dataclass(frozen=True, slots=True)
class Variant:
    rated: RatedUse
    when: frozenset[str]
    """Words that the account must have."""
    unless: frozenset[str]
    """Words that the account must not have."""
    since: int = 0
    """Unix seconds."""
    until: int = NEVER

    @property
    def conditions(self) -> int:
        return len(self.when) + len(self.unless) + (self.since > 0) + (self.until < NEVER)

    def concerns(self, words: frozenset[str]) -> bool:
        return self.when <= words and not self.unless & words


class VariantRates:
    """The variants of one use; `ocs.values.use.Variants`."""

    def __init__(self, variants: Sequence[Variant]) -> None:
        self._variants = sorted(variants, key=lambda each: -each.conditions)
        self._found: dict[str, tuple[int, int, RatedUse]] = {}

    @property
    def rates(self) -> tuple[RatedUse, ...]:
        return tuple(each.rated for each in self._variants)

    @property
    def labels(self) -> tuple[str, ...]:
        """Of all variants."""
        return tuple(dict.fromkeys(each.rated.label for each in self._variants))

    def at(self, rated: RatedUse, facts: str, unix_s: int) -> RatedUse:
        """The rate for these facts (words between commas) at that moment, and the time until which it holds
        (`RatedUse.ends_at`).
        """
        found = self._found.get(facts)
        if found is None or not found[0] <= unix_s < found[1]:
            found = self._find(rated, frozenset(facts.split(",")), unix_s)
            if len(self._found) >= FACTS_KEPT:
                self._found.clear()
            self._found[facts] = found
        return found[2]

    def _find(self, rated: RatedUse, words: frozenset[str], unix_s: int) -> tuple[int, int, RatedUse]:
        """(from, to, rate)."""
        concerned = [each for each in self._variants if each.concerns(words)]
        moments = sorted({0, NEVER, *(moment for each in concerned for moment in (each.since, each.until))})
        since = max(moment for moment in moments if moment <= unix_s)
        until = min(moment for moment in moments if moment > unix_s)
        holding = (each.rated for each in concerned if each.since <= unix_s < each.until)
        return since, until, replace(next(holding, rated), ends_at=0 if until == NEVER else until, variants=None)
