"""The story of one subscriber, beside the traffic of the demo: he activates, buys a pack, travels, uses it up, is told,
tops up, goes on.

Everything is real: requests of a P-GW and an IMS over Diameter, orders by a shop and by himself over the HTTP API,
notices as the API shows them, no faked clock. Amounts are chosen so that it happens in half a minute: abroad a megabyte
costs euros.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from simulator.api_client import ApiClient
from simulator.engine import Target
from simulator.prices import PriceList
from simulator.requests import Element, Place, Subscriber
from simulator.story_checks import EXPECTED_NOTICES, Facts, Money, checks
from simulator.story_network import StoryNetwork, StorySession
from simulator.story_result import Entry, StoryResult, Told
from simulator.story_timeline import asked_text

TRAVELLER = Subscriber("38668900001", "293400000900001", "MINI", "25.00")
FRIEND = "38640123456"
HOME, SERBIA = Place("home", "29340", "38640000001"), Place("balkan", "22003", "381600000001")
PACK, PACK_BUCKET = "BALKAN-500-MB", "balkan-data"
ROAMING_LIMIT = "roaming-data"
LIMIT_EUR, RAISED_EUR, TOP_UP_EUR = "20.00", "60.00", "30.00"
MEGABYTE = 1024**2
CALL_S = 2
HOME_DATA = 20 * MEGABYTE
LAST_DATA = MEGABYTE // 2
PAUSE_S = 0.7
"""Between two steps."""
USE_S = 0.15
"""Between two reports of use: below the highest rate that the server believes."""
MOST_UPDATES = 60
"""Of one step: more means that the limit is never reached."""
NOTICE_TIMEOUT_S = 30.0
"""A notice goes by record file and SQL: seconds."""
RAR_TIMEOUT_S = 10.0
POLL_S = 0.4

MONEY = Money(TRAVELLER.credit, TOP_UP_EUR, TRAVELLER.package, PACK, PACK_BUCKET, SERBIA.id)

MakeKey = Callable[[str, str], str]
"""(role, MSISDN or "") → a key of the API."""


class Story:
    """Plays it once. `result` fills while it plays."""

    def __init__(self, target: Target, api_port: int, make_key: MakeKey, prices: PriceList) -> None:
        self.result = StoryResult(TRAVELLER.msisdn)
        self._api_port, self._make_key, self._prices = api_port, make_key, prices
        self._started = time.monotonic()
        self._network = StoryNetwork(target, TRAVELLER, self._now_s)
        self._known: dict[str, Told] = {}
        """Notices by id."""
        self._noted = 0
        """So many of the network's requests are in entries."""
        self._sold = self._used = ""
        """State of the account when it is sold, and after the first use."""

    def _now_s(self) -> float:
        return time.monotonic() - self._started

    async def play(self) -> None:
        """Raises SimulatorError: a request was refused that must not be, or not answered."""
        await asyncio.to_thread(ApiClient(self._api_port).wait_until_up)
        shop = ApiClient(self._api_port, await asyncio.to_thread(self._make_key, "shop", ""))
        await self._network.connect()
        self._started = time.monotonic()
        try:
            await self._play(shop)
        finally:
            await self._network.disconnect()
            self._collect()

    async def _play(self, shop: ApiClient) -> None:
        await self._open(shop)
        self._own = ApiClient(self._api_port, await asyncio.to_thread(self._make_key, "member", TRAVELLER.msisdn))
        listening = asyncio.create_task(self._listen())
        try:
            await self._at_home()
            session = await self._abroad()
            await self._credit_used_up(session, shop)
            await self._limit_reached(session)
            async with self._step("ends his session, and asks for his balance"):
                await session.end(LAST_DATA)
            await self._until_sent()
        finally:
            listening.cancel()
        facts = Facts(self._sold, self._used, (await self._get("/balance"))["credit"])
        self._collect()
        self.result.checks = checks(self.result, facts, MONEY, self._prices)

    def _collect(self) -> None:
        self.result.told = sorted(self._known.values(), key=lambda told: told.at_s)
        self.result.asked, self.result.reports = self._network.asked, self._network.reports

    # -- the acts

    async def _open(self, shop: ApiClient) -> None:
        body = {
            "msisdn": TRAVELLER.msisdn,
            "imsi": TRAVELLER.imsi,
            "package": TRAVELLER.package,
            "credit": TRAVELLER.credit,
            "unused": True,
        }
        at_s = self._now_s()
        opened = await asyncio.to_thread(shop.post, "/accounts", body)
        self._sold = opened["state"]
        did = f"gets a SIM with {TRAVELLER.package} and {TRAVELLER.credit} EUR in a shop; nothing is used yet"
        self.result.entries.append(Entry(at_s, did, credit=opened["credit"]))
        await asyncio.to_thread(shop.put, f"/accounts/{TRAVELLER.msisdn}/language", {"language": "en"})

    async def _at_home(self) -> None:
        async with self._step("calls a friend: the first use activates the account"):
            call = self._network.session(Element.IMS, HOME, other_party=FRIEND, destination="national-mobile")
            await call.start()
            await asyncio.sleep(CALL_S)
            await call.end(CALL_S)
        self._used = (await self._get("/balance"))["state"]
        async with self._step("reads the news"):
            data = self._network.session(Element.PGW, HOME)
            await data.start()
            await asyncio.sleep(USE_S)
            await data.end(HOME_DATA)
        async with self._step(f"buys {PACK} in the app: it begins at its first use"):
            await self._put_or_post("post", "/subscriptions", {"product": PACK})
        async with self._step(f"limits roaming data to {LIMIT_EUR} EUR a month"):
            await self._put_or_post("put", f"/limits/{ROAMING_LIMIT}", {"limit": LIMIT_EUR})

    async def _abroad(self) -> StorySession:
        session = self._network.session(Element.PGW, SERBIA)
        async with self._step("lands in Belgrade and goes online: the pack begins, and is paid"):
            await session.start()
        await self._until_told("welcome")
        async with self._step("streams a film: the pack is used up"):
            await self._use_pack(session)
        await self._until_told("data-used-up")
        return session

    async def _credit_used_up(self, session: StorySession, shop: ApiClient) -> None:
        async with self._step("goes on: now his credit pays, until it is used up"):
            await self._use_until_refused(session)
        await self._until_told("low-credit")
        async with self._step(f"tops up {TOP_UP_EUR} EUR in a shop: the network is asked to go on"):
            body = {"amount": TOP_UP_EUR, "reference": "story-top-up"}
            await asyncio.to_thread(shop.post, f"/accounts/{TRAVELLER.msisdn}/top-ups", body)
            await session.until_asked(RAR_TIMEOUT_S)
            await session.use(0)
        await self._until_told("topup")

    async def _limit_reached(self, session: StorySession) -> None:
        async with self._step("uses more, until his limit of roaming data stops him"):
            await self._use_until_refused(session)
        await self._until_told("roaming-cap-100")
        async with self._step(f"raises the limit to {RAISED_EUR} EUR for this month: the network is asked again"):
            await self._put_or_post("put", f"/limits/{ROAMING_LIMIT}", {"limit": RAISED_EUR, "this_window_only": True})
            await session.until_asked(RAR_TIMEOUT_S)
            await session.use(0)

    async def _use_pack(self, session: StorySession) -> None:
        left = self._prices.packages[PACK].buckets[PACK_BUCKET]
        assert left is not None
        for _ in range(MOST_UPDATES):
            if not left or not session.granted:
                return
            used = min(session.granted, left)
            left -= used
            await asyncio.sleep(USE_S)
            await session.use(used)

    async def _use_until_refused(self, session: StorySession) -> None:
        for _ in range(MOST_UPDATES):
            if not session.granted:
                return
            await asyncio.sleep(USE_S)
            await session.use(session.granted)

    # -- the timeline

    @asynccontextmanager
    async def _step(self, did: str) -> AsyncIterator[None]:
        """An entry of the timeline, with what the network asked meanwhile and what is left afterwards."""
        at_s = self._now_s()
        yield
        balance = await self._get("/balance")
        asked = self._network.asked[self._noted :]
        self._noted = len(self._network.asked)
        units = next((each["left"] for each in balance["units"] if each["bucket"] == PACK_BUCKET), None)
        lacks = bool(asked) and asked[-1].code // 1000 == 4
        self.result.entries.append(Entry(at_s, did, *asked_text(asked), balance["credit"], units, lacks=lacks))
        await asyncio.sleep(PAUSE_S)

    async def _get(self, path: str) -> Any:
        return await asyncio.to_thread(self._own.get, f"/accounts/{TRAVELLER.msisdn}{path}")

    async def _put_or_post(self, method: str, path: str, body: dict[str, Any]) -> Any:
        call = self._own.put if method == "put" else self._own.post
        return await asyncio.to_thread(call, f"/accounts/{TRAVELLER.msisdn}{path}", body)

    async def _listen(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(POLL_S)

    async def _look(self) -> None:
        """Notes new notices, and the present state of all."""
        for notice in reversed((await self._get("/notices?limit=50"))["items"]):
            known = self._known.get(notice["id"])
            at_s = self._now_s() if known is None else known.at_s
            self._known[notice["id"]] = Told(at_s, notice["name"], notice["text"], notice["state"])

    async def _until_told(self, name: str) -> None:
        """Waits for the notice; a check finds it missing."""
        end = self._now_s() + NOTICE_TIMEOUT_S
        while self._now_s() < end and not self._is_told(name):  # noqa: ASYNC110 - the API is asked
            await asyncio.sleep(POLL_S)
        await asyncio.sleep(PAUSE_S)

    def _is_told(self, name: str) -> bool:
        return any(told.name == name for told in self._known.values())

    async def _until_sent(self) -> None:
        """Waits until all expected notices are sent. (At night others wait for the morning.)"""
        end = self._now_s() + NOTICE_TIMEOUT_S
        while self._now_s() < end:
            await self._look()
            states = {told.name: told.state for told in self._known.values()}
            if all(states.get(name) == "sent" for name in EXPECTED_NOTICES):
                return
            await asyncio.sleep(POLL_S)
