"""A month of a few lines that meets each rule which the audit from outside computes again, and its charging records."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simulator.catalogue_sheet import CatalogueSheet
from simulator.paper_counters import LIMIT
from simulator.recomputation import Recomputed, recompute
from simulator.records import RecordBook
from simulator.tally import SessionReport
from tests.ocs.charging.ccr import AUSTRIA, DATA, HOME, IMS, MB, SERBIA, SMS
from tests.ocs.charging.source import Origin
from tests.ocs.rules.test_business_groups import PUK, Firm
from tests.ocs.rules.world import World
from tests.ocs.year import places
from tests.ocs.year.care import Care
from tests.ocs.year.check import Check
from tests.ocs.year.clock import YearClock
from tests.ocs.year.line import CAP, Line
from tests.ocs.year.sessions import ClientSession, Part
from tests.ocs.year.sheet import BEGINS, catalogue_texts, sheet

GB = 1024 * MB
DAY_S = 86_400
NUMBERS = {
    "packs": 0, "zone": 1, "fair use": 2, "cap": 3, "limit": 4, "forwards": 5, "surcharge": 6, "renews": 7, "boss": 8,
    "member": 9, "shares": 10, "shares too": 11, "at once": 12, "sends back": 13,
}  # fmt: skip
"""Line → its number."""


def audited(
    reports: Sequence[SessionReport], records: Sequence[dict[str, Any]], folder: Path, texts: Sequence[str] = ()
) -> Recomputed:
    """The accounts of these records, computed again. `texts`: the catalogue; default: that of the year."""
    (folder / "records-000001.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    book = RecordBook(folder)
    book.read_on()
    return recompute(reports, book, CatalogueSheet([tomllib.loads(text) for text in texts or catalogue_texts()]))


class Month:
    """`reports` and `records` after `run`; `accounts`: id of each line's account."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clock = YearClock(BEGINS - 1, self._set)
        self.lines = {name: Line(world, self.clock, sheet(), number, 1) for name, number in NUMBERS.items()}
        self.check = Check(world.ledger, list(self.lines.values()))
        self.firm = Firm(world)
        for line in self.lines.values():
            line.on_paper = False

    def _set(self, now: int) -> None:
        self.world.now = now

    @property
    def reports(self) -> list[SessionReport]:
        return [report for line in self.lines.values() for report in line.network.reports.values()]

    @property
    def records(self) -> list[dict[str, Any]]:
        return self.check.records

    @property
    def accounts(self) -> dict[str, str]:
        return {name: line.account_id for name, line in self.lines.items()}

    async def run(self) -> None:
        self.world.now = BEGINS - 1
        await self.world.price_lists(*catalogue_texts())
        self.world.source = Origin(refunds=True)
        for act in (self._packs, self._zone, self._fair_use, self._cap, self._limit, self._forwards, self._surcharge,
                    self._renews, self._firm, self._pool, self._at_once, self._sends_back):  # fmt: skip
            self.clock.act(act())
        await self.clock.run_to(BEGINS + 35 * DAY_S)
        await self.clock.stop()
        await self.check.day()

    async def _call(self, line: Line, used: places.Used, seconds: int) -> None:
        await ClientSession(line, IMS, [Part(*used, seconds)]).run()

    async def _data(self, line: Line, plmn: str, octets: int, gap_s: int = 600) -> None:
        await ClientSession(line, DATA, [Part(*places.data(plmn), octets)], gap_s).run()

    # -- what they do

    async def _packs(self) -> None:
        line = self.lines["packs"]
        await line.open(30, "MINI")
        await line.message(SMS, *places.sms(HOME, "national"))
        await line.buy("SMS-200")
        for plmn in (HOME, AUSTRIA, HOME):
            await line.message(SMS, *places.sms(plmn, "national"))
            await self.clock.until(line.now + 60)
        await line.buy("EXTRA-DATA-5-GB")
        await self._data(line, HOME, 9 * GB + 20 * MB)

    async def _zone(self) -> None:
        line = self.lines["zone"]
        await line.open(30, "MINI")
        await line.buy("BALKAN-500-MB")
        await self._data(line, HOME, 20 * MB)
        await self._data(line, SERBIA, 3 * MB)

    async def _fair_use(self) -> None:
        line = self.lines["fair use"]
        await line.open(40, "MAXI")
        await self._data(line, AUSTRIA, 17 * GB, 300)

    async def _cap(self) -> None:
        line = self.lines["cap"]
        await line.open(20, "")
        await line.limit(CAP, 5)
        await self._data(line, SERBIA, 30 * MB)

    async def _limit(self) -> None:
        line = self.lines["limit"]
        await line.open(20, "")
        await line.limit(LIMIT, 1)
        await self._call(line, places.call(HOME, "national"), 2000)

    async def _forwards(self) -> None:
        line = self.lines["forwards"]
        await line.open(40, "")
        for plmn, mode in ((SERBIA, 0), (SERBIA, 5), (HOME, 5), (AUSTRIA, 2)):
            await self._call(line, places.forwarded(plmn, "national", mode), 70)
        await self._call(line, places.incoming(SERBIA), 70)

    async def _surcharge(self) -> None:
        line = self.lines["surcharge"]
        await line.open(40, "MINI")
        self.clock.act(Care(line).surcharge(3))
        await self.clock.until(line.now + 60)
        await self._call(line, places.call(AUSTRIA, "national"), 70)
        await self._data(line, AUSTRIA, 3 * MB)

    async def _renews(self) -> None:
        line = self.lines["renews"]
        await line.open(8, "MINI")
        await self._call(line, places.call(HOME, "zone1"), 70)
        await line.top_up(20)
        await self.clock.until(BEGINS + 31 * DAY_S)
        await line.message(SMS, *places.sms(HOME, "national"))

    async def _firm(self) -> None:
        firm, boss, member = self.firm, self.lines["boss"], self.lines["member"]
        await boss.open(50, "")
        await member.open(5, "")
        self.firm.id = (await firm.groups.create(name="Firma", administrator=boss.msisdn)).group.group_id
        await firm.groups.set_puk(member.msisdn, puk=PUK)
        await firm.groups.add(firm.id, msisdn=member.msisdn, puk=PUK)
        await firm.transfer(boss, member, 12.5, "t1")
        await firm.transfer(member, boss, 2, "t2")
        await firm.separate(member, 15)
        await member.order_by_text("SMS-200")
        await self._call(boss, places.call(HOME, "national"), 70)
        await member.message(SMS, *places.sms(HOME, "national"))

    async def _pool(self) -> None:
        first, other = self.lines["shares"], self.lines["shares too"]
        for line in (first, other):
            await line.open(40, "")
            await line.share(first)
        await first.change("FAMILY")
        for line in (first, other):
            await self._data(line, HOME, 20 * MB)
            await self._call(line, places.call(HOME, "national"), 70)

    async def _at_once(self) -> None:
        """Two sessions at a time: what one holds of the last units, the other cannot use."""
        line = self.lines["at once"]
        await line.open(30, "MINI")
        await self._data(line, HOME, 9 * GB - 30 * MB)
        self.clock.act(self._data(line, HOME, 25 * MB, 1200))
        await self.clock.until(line.now + 60)
        await self._data(line, HOME, 12 * MB)

    async def _sends_back(self) -> None:
        line = self.lines["sends back"]
        await line.open(10, "")
        await line.message(SMS, *places.sms(HOME, "national"), refunded=True)
        await line.message(SMS, *places.sms(HOME, "zone1"))
