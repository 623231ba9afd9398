"""Facts of an account (`UseEvent.facts`) at a moment, from its charging records: measures, and products that run.

Some rates depend on them. The record of a use does not say them; the records before it do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ocs.catalogue.versions import Catalogues
from ocs.outbox.files import parse_event_id
from ocs.outbox.reading import Record, unix_s
from ocs.values.measures import MeasureKind

KINDS = frozenset({"measure", "package", "subscription", "terminated"})
"""Records that change facts."""
_PLANNED = ("planned", "armed")
_OVER = ("ended", "voided")


@dataclass(slots=True)
class AccountFacts:
    """What the records so far say."""

    measures: set[str] = field(default_factory=set)
    products: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    """Product → (end of its period, its words)."""

    def take(self, record: Record, catalogues: Catalogues) -> None:
        kind = record["kind"]
        if kind == "measure" and record.get("measure") == MeasureKind.FACT:
            state, name = record.get("state"), str(record.get("name", ""))
            if state == "begun":
                self.measures.add(name)
            elif state not in _PLANNED:
                self.measures.discard(name)
        elif kind == "package" and record.get("paid"):
            self._begin(record, catalogues)
        elif kind == "subscription" and record.get("state") in _OVER:
            self.products.pop(str(record.get("package", "")), None)
        elif kind == "terminated":
            self.measures.clear()
            self.products.clear()

    def _begin(self, record: Record, catalogues: Catalogues) -> None:
        product, ends = str(record.get("package", "")), record.get("period_end")
        terms = catalogues.at(unix_s(record["time"])).terms.get(product)
        if terms is not None and terms.facts and ends:
            self.products[product] = unix_s(str(ends)), terms.facts

    def at(self, moment: int) -> str:
        """The words, sorted, joined by commas."""
        words = set(self.measures)
        for ends, facts in self.products.values():
            if ends > moment:
                words.update(facts)
        return ",".join(sorted(words))


def facts_before(records: Iterable[Record], record: Record, catalogues: Catalogues) -> AccountFacts:
    """From the records of its account, in their order, that come before this one: by their numbers, or by time if they
    are of another partition, in which the account was or is now.
    """
    facts, wanted = AccountFacts(), parse_event_id(record["event_id"])
    for each in records:
        number = parse_event_id(each["event_id"])
        same_partition = each.get("account") == record.get("account")
        if number >= wanted if same_partition else each["time"] > record["time"]:
            break
        facts.take(each, catalogues)
    return facts
