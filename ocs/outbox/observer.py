"""Counts presence and use at home and abroad from the events of the outbox (HOT-ROA-4).

It reads each partition from its own position, before the pump deletes the events. Position and counts are one step in
the ledger, so no event is counted twice or lost: not by a crash, not by a repetition, not if the ledger goes back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from ocs.catalogue.model import RateTable
from ocs.catalogue.place import EU, HOME
from ocs.catalogue.versions import Catalogues
from ocs.ledger.contract.events import OutboxEvent
from ocs.ledger.contract.observations import ObservationLedger, Sighting
from ocs.policy.fair_use import EQUIPMENT_WINDOWS
from ocs.values.bounded_cache import BoundedCache
from ocs.values.presence import DayUse
from ocs.values.use import Direction, Unrateable

PAGE_EVENTS = 256
"""Events of one partition that are counted in one step."""
TOGETHER = 16
"""Partitions that are read at once."""
MARGIN_DAYS = 7
"""Days are kept so much longer than the window."""
PLACES_KEPT = 4_096
RECORDS = ("charge", "expired")
"""Events that have the use of a session's services."""
_PLMN_DIGITS = 6


class Observer:
    def __init__(self, ledger: ObservationLedger, catalogue: Catalogues) -> None:
        self._ledger = ledger
        self._sightings = Sightings(catalogue)
        self._catalogue = catalogue

    async def through(self, last: Mapping[int, int]) -> None:
        """Count the events of these partitions up to these sequence numbers. LedgerUnavailable: later, from the same
        position.
        """
        if not self._catalogue.fair_use_days:
            return
        partitions = list(last)
        for at in range(0, len(partitions), TOGETHER):
            few = partitions[at : at + TOGETHER]
            await asyncio.gather(*(self._count(partition, last[partition]) for partition in few))

    async def _count(self, partition: int, last: int) -> None:
        window = self._catalogue.fair_use_days
        position = await self._ledger.observed_position(partition)
        while position < last:
            (page,) = await self._ledger.outbox_entries([(partition, position + 1)], count=PAGE_EVENTS)
            page = [entry for entry in page if entry[0] <= last]
            if not page:
                return
            events = [self._ledger.outbox_event(partition, entry) for entry in page]
            # Safe to repeat, so it need not be one step with the position.
            await self._ledger.note_equipment(self._sightings.equipment(events), kept_days=EQUIPMENT_WINDOWS * window)
            rows = self._sightings.rows(events)
            position = await self._ledger.observe(
                partition,
                expected=position,
                position=page[-1][0],
                rows=rows,
                window_days=window,
                kept_days=window + MARGIN_DAYS,
            )


class Sightings:
    """Events → what they add to the days of accounts."""

    def __init__(self, catalogue: Catalogues) -> None:
        self._catalogue = catalogue
        self._places: BoundedCache[str, str] = BoundedCache(PLACES_KEPT)
        self._services: dict[str, str] = {}
        self._made_from: tuple[object, ...] = ()

    def rows(self, events: Iterable[OutboxEvent]) -> dict[str, dict[int, DayUse]]:
        """Account → day → use."""
        found: dict[str, dict[int, DayUse]] = {}
        for event in events:
            body: Mapping[str, Any] = event.body
            if body["k"] in RECORDS:
                for service, units, abroad in self._lines(body.get("svc") or ()):
                    day = self._catalogue.day_of(body["t"])
                    found.setdefault(body["a"], {}).setdefault(day, DayUse()).add(service, units, abroad=abroad)
        return found

    def equipment(self, events: Iterable[OutboxEvent]) -> list[Sighting]:
        """Of arrivals in a country of the EU, as far as the network says the equipment."""
        self._rates()
        arrivals = [event.body for event in events if event.body["k"] == "arrived" and event.body.get("equipment")]
        return [
            (str(body["equipment"]), str(body["a"]), self._catalogue.day_of(int(str(body["t"]))))
            for body in arrivals
            if self._place(str(body["plmn"])) == EU
        ]

    def _lines(self, lines: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, int, bool]]:
        """(service, raw units, whether abroad) of the lines that say where the subscriber was. A forwarded call does
        not; a surcharge is paid for what another line has.
        """
        services = self._rates()
        for line in lines:
            where, _, rest = str(line["detail"]).partition(" ")
            service = services.get(str(line["label"]))
            if service is None or not line["used"] or rest.startswith(Direction.FORWARDED.value):
                continue
            place = self._place(where)
            if place in (HOME, EU):
                yield service, int(line["used"]), place == EU

    def _place(self, where: str) -> str:
        """Place of the serving network or visited number; "" = of none."""
        known = self._places.get(where)
        if known is None:
            is_plmn = len(where) <= _PLMN_DIGITS
            try:
                catalogue = self._catalogue.in_force()
                known = catalogue.place_at(where if is_plmn else None, None if is_plmn else where)
            except Unrateable:
                known = ""
            self._places.put(where, known)
        return known

    def _rates(self) -> Mapping[str, str]:
        """Rate → service, of all versions."""
        if self._made_from != self._catalogue.versions:
            self._made_from, self._places = self._catalogue.versions, BoundedCache(PLACES_KEPT)
            self._services = {
                label: rate.service
                for version in self._catalogue.versions
                for label, rate in version.tables.of("rate", RateTable).items()
            }
        return self._services
