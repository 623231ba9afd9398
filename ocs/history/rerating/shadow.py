"""An account as a catalogue would have charged it: its periods, included units, packs and fair-use volumes.

The same functions as in `ocs rate` pay (`ocs.policy.payment`): buckets in their order, then credit, within fair-use
volumes. What is simplified, and told with every result (`LIMITS`): credit and spending limits never end a use, so what
was used is paid; a use that buckets of unknown origin paid is paid by as many units of them again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ocs.catalogue.price import billable_units
from ocs.catalogue.versions import Catalogues
from ocs.history.rerating.uses import Use
from ocs.outbox.facts import AccountFacts
from ocs.outbox.reading import Record, unix_s
from ocs.policy.payment import CREDIT, Bucket, Counter, Funds, pay
from ocs.policy.quote import Use as Quoted
from ocs.policy.quote import sections
from ocs.values.products import PACKAGE_GROUP, Window
from ocs.values.use import RatedUse, Unit

LIMITS = (
    "credit, spending limits and bars end no use: all that was used is paid, but for what nobody could pay (overrun)",
    "people would use the same, buy the same products and top up as they did",
    "a session has the price of its beginning; calls are split where the price changes",
    "units of a pool, and of products bought before the records begin, pay what they paid",
    "refunds and shares of benefits stay as they are, and are in no sum",
    "fair use by presence (HOT-ROA-4) stays as it was decided",
    "an account that moves to another partition begins anew there, if another share of the work has that",
)
UNLIMITED = 2**60
"""Micro-EUR: credit that never ends a use."""
MAX_SESSIONS = 256
"""Of one account that have not ended; the one that began first is forgotten."""


@dataclass(slots=True)
class _Session:
    """R counts over all prices of a rate, M for each price (docs/RATING.md)."""

    used: dict[tuple[str, int, str], int] = field(default_factory=dict)
    paid: dict[str, dict[str, int]] = field(default_factory=dict)
    seconds: dict[str, int] = field(default_factory=dict)
    """Of each service key: so far."""
    last_at: int = 0


@dataclass(frozen=True, slots=True)
class Paid:
    """What one use costs."""

    micro_eur: int
    legs: tuple[RatedUse, ...]
    bucket_units: dict[str, int]
    buckets_assumed: bool
    """Units of unknown origin paid some of it."""


class ShadowAccount:
    def __init__(self, catalogues: Catalogues) -> None:
        self._catalogues = catalogues
        self._funds = Funds(money=UNLIMITED)
        self._products: dict[int, str] = {}
        """Instance of a bucket → its product."""
        self._instances = 0
        self._sessions: dict[str, _Session] = {}
        self._month = 0
        self.tariff = ""
        self.facts = AccountFacts()

    # -- products

    def take(self, record: Record) -> None:
        """A record that is no use."""
        self.facts.take(record, self._catalogues)
        if record["kind"] == "subscription" and record.get("state") in ("ended", "voided"):
            self._end(str(record.get("package", "")))
        elif record["kind"] == "terminated":
            self._funds.buckets.clear()
            self._sessions.clear()
            self.tariff = ""

    def fee(self, record: Record) -> int | None:
        """A period of a product begins: its price. None = the catalogue has no such product."""
        self.facts.take(record, self._catalogues)
        product, at = str(record.get("package", "")), unix_s(record["time"])
        terms = self._catalogues.at(at).sold_at(at).terms.get(product)
        if terms is None:
            return None
        ends = unix_s(str(record["period_end"])) if record.get("period_end") else at + terms.period_s
        if terms.group == PACKAGE_GROUP:
            for other in set(self._products.values()):
                other_terms = self._catalogues.at(at).terms.get(other)
                if other_terms is None or other_terms.group == PACKAGE_GROUP:
                    self._end(other)
            self.tariff = product
        self._instances += 1
        self._products[self._instances] = product
        for bucket in terms.buckets:
            self._funds.buckets.append(
                Bucket(bucket.id, bucket.quantity, bucket.priority, ends, False, self._instances)
            )
        for counter in terms.counters:
            self._funds.counters[counter.id] = Counter(0, counter.limit)
        return terms.price_micro_eur

    def _end(self, product: str) -> None:
        gone = {instance for instance, each in self._products.items() if each == product}
        self._funds.buckets = [each for each in self._funds.buckets if each.instance not in gone]
        for instance in gone:
            del self._products[instance]

    # -- use

    def use(self, use: Use, session_id: str, at: int) -> Paid:
        """Pays a use that was recorded at `at`, Unix seconds. Raises Unrateable."""
        session = self._session(session_id)
        begins = use.event.at
        event = replace(use.event, at=begins, facts=self.facts.at(begins))
        quoted = Quoted(event, use.used, use.late)
        first = next(sections(quoted, self._catalogues))
        if first.legs[0].unit is Unit.SECONDS:
            quoted.event.at += session.seconds.get(use.key, 0)
        elif session.last_at:
            quoted.event.at = session.last_at
        self._forget_what_is_over(at)
        assumed = self._assume(use)
        result = self._pay(quoted, use, session)
        self._funds.buckets = [each for each in self._funds.buckets if each.instance not in assumed]
        session.seconds[use.key] = session.seconds.get(use.key, 0) + use.used
        return replace(result, buckets_assumed=bool(assumed))

    def _pay(self, quoted: Quoted, use: Use, session: _Session) -> Paid:
        overrun, micro_eur, legs, buckets = use.overrun, 0, tuple[RatedUse, ...](), dict[str, int]()
        paid_at = session.paid.setdefault(use.key, {})
        for section in sections(quoted, self._catalogues):
            legs = legs or section.legs
            for number, leg in enumerate(section.legs):
                rate = use.key, number, leg.label
                before = billable_units(leg.price, session.used.get(rate, 0))
                session.used[rate] = session.used.get(rate, 0) + section.amount
                units = billable_units(leg.price, session.used[rate]) - before
                units -= min(overrun, units)
                for part in pay(leg, leg.price, units, self._funds, paid_at).parts:
                    if part.payer == CREDIT:
                        micro_eur += part.micro_eur
                    elif part.units:
                        buckets[part.payer] = buckets.get(part.payer, 0) + part.units
        self._funds.money = UNLIMITED
        return Paid(micro_eur, legs, buckets, False)

    def _assume(self, use: Use) -> set[int]:
        """Buckets that the record names and the account cannot have by its records."""
        known = {each.id for each in self._funds.buckets}
        assumed = set()
        for bucket, units in use.bucket_units.items():
            if bucket not in known:
                self._instances += 1
                self._funds.buckets.append(Bucket(bucket, units, 0, 2**62, True, self._instances))
                assumed.add(self._instances)
        return assumed

    def _forget_what_is_over(self, at: int) -> None:
        self._funds.now = at
        if any(each.ends_at <= at for each in self._funds.buckets):
            self._funds.buckets = [each for each in self._funds.buckets if each.ends_at > at]
        month = self._catalogues.month_of(at)
        if month != self._month:
            self._month = month
            terms = self._catalogues.at(at).counters
            for name in [each for each in self._funds.counters if each in terms]:
                if terms[name].window is Window.MONTH:
                    del self._funds.counters[name]

    def _session(self, session_id: str) -> _Session:
        session = self._sessions.get(session_id)
        if session is None:
            session = self._sessions[session_id] = _Session()
            while len(self._sessions) > MAX_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
        return session

    def recorded(self, session_id: str, at: int, *, closed: bool) -> None:
        """All uses of a record were paid."""
        if closed:
            self._sessions.pop(session_id, None)
        elif session_id in self._sessions:
            self._sessions[session_id].last_at = at
