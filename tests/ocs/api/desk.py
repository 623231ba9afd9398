"""The API in this process, on a real Redis: requests without a network, by keys of all roles."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from ocs.accounts.backend import Backend
from ocs.api.app import create
from ocs.api.container import Container
from ocs.api.keys import ApiKeys
from ocs.api.limits import RateLimits
from ocs.api.rights import BOUND, Role
from ocs.catalogue.versions import Catalogues
from ocs.compose import Environment
from ocs.history.service import history_of
from ocs.ledger.contract.events import OutboxEvent
from ocs.ledger.contract.groups import GroupStep, StepKind
from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from ocs.notices.service import notices_of
from ocs.settings.api import ApiSection
from ocs.settings.schema import PeerSection, ServerSection, Settings
from ocs.telemetry.metrics import Metrics
from ocs.values.moment import when_of
from tests.catalogue import fixed_versions
from tests.ocs.ledger.books import outbox_read

GROUP = "G1"
OWN, FOREIGN = "38668200001", "38668200002"
"""In the group of the group-admin, and that of the member; and one that is of neither."""
BOSS = "38668200003"
"""The administrator's number of the group."""
PARTITIONS = 4
_IMSIS = count(293_400_000_200_000)
_KEYS = count(1)


@dataclass
class Desk:
    """`await desk.get("/v1/…", role)`, and so on."""

    app: FastAPI
    client: httpx.AsyncClient
    container: Container
    ledger: RedisLedger
    metrics: Metrics
    keys: dict[str, str] = field(default_factory=dict)
    """Role → a key of it."""

    @property
    def backend(self) -> Backend:
        return self.container.backend

    async def open(self, msisdn: str, credit: int = 20_000_000, group: str = "") -> str:
        """An account with credit in micro-EUR; returns its id."""
        when = when_of(self.backend.when())
        account_id = await self.ledger.open_account(
            msisdn=msisdn,
            imsi=str(next(_IMSIS)),
            credit_micro_eur=credit,
            package=None,
            entropy=self.backend.environment.entropy(),
            **when,
        )
        if group:
            step = GroupStep(StepKind.JOIN, account_id)
            await self.ledger.post_step(group, step, now=when["now"])
            await self.ledger.join_group(account_id, group_id=group, role="member", **when)
            await self.ledger.finish_step(group, step)
        return account_id

    async def open_group(self, group: str, administrator: str) -> None:
        """A business group with its administrator number."""
        account_id, when = await self.open(administrator), when_of(self.backend.when())
        await self.ledger.create_group(group, name="Firma", administrator=account_id, payer="", now=when["now"])
        await self.ledger.join_group(account_id, group_id=group, role="administrator", **when)
        await self.ledger.finish_step(group, GroupStep(StepKind.JOIN, account_id))

    async def new_key(self, role: Role | str, bound_to: str = "", **more: Any) -> str:
        keys = ApiKeys(self.ledger, self.backend.environment.now)
        return (await keys.create(role=role, name=f"test of {role}", bound_to=bound_to, **more)).text

    async def request(
        self,
        method: str,
        path: str,
        role: Role | str = Role.CARE,
        *,
        key: str | None = None,
        once: str | None = None,
        **more: Any,
    ) -> httpx.Response:
        """`key` "": without one. `once`: the Idempotency-Key; None = a new one."""
        headers = {"Idempotency-Key": f"k{next(_KEYS)}" if once is None else once, **more.pop("headers", {})}
        text = self.keys[role] if key is None else key
        if text:
            headers["Authorization"] = f"Bearer {text}"
        return await self.client.request(method, path, headers={k: v for k, v in headers.items() if v}, **more)

    async def get(self, path: str, role: Role | str = Role.CARE, **more: Any) -> httpx.Response:
        return await self.request("GET", path, role, **more)

    async def post(self, path: str, role: Role | str = Role.CARE, **more: Any) -> httpx.Response:
        return await self.request("POST", path, role, **more)

    async def put(self, path: str, role: Role | str = Role.CARE, **more: Any) -> httpx.Response:
        return await self.request("PUT", path, role, **more)

    async def delete(self, path: str, role: Role | str = Role.CARE, **more: Any) -> httpx.Response:
        return await self.request("DELETE", path, role, **more)

    async def events(self, kind: str, account_id: str = "") -> list[OutboxEvent]:
        """All events of that kind, of one account or of all."""
        found = []
        for partition in range(PARTITIONS):
            found += await outbox_read(self.ledger, partition, after=0, count=10_000)
        return [each for each in found if each.body["k"] == kind and account_id in ("", each.body["a"])]


@asynccontextmanager
async def desk_on(
    url: str, *, partitions: int = PARTITIONS, data_dir: Path | None = None, peers: Sequence[str] = (), **api: Any
) -> AsyncIterator[Desk]:
    """A desk on the Redis, with accounts OWN and FOREIGN and a key of each role. `api`: settings of [api]."""
    metrics = Metrics()
    ledger = await RedisLedger.connect(url, LedgerSettings(partitions=partitions), metrics)
    try:
        async with desk_at(ledger, metrics, data_dir=data_dir, peers=peers, **api) as desk:
            await desk.open_group(GROUP, BOSS)
            await desk.open(OWN, group=GROUP)
            await desk.open(FOREIGN)
            bound = {"group": GROUP, "msisdn": OWN}
            for role in Role:
                desk.keys[role] = await desk.new_key(role, bound[BOUND[role]] if role in BOUND else "")
            yield desk
    finally:
        await ledger.close()


@asynccontextmanager
async def desk_at(
    ledger: RedisLedger, metrics: Metrics, *, data_dir: Path | None = None, peers: Sequence[str] = (), **api: Any
) -> AsyncIterator[Desk]:
    """A desk at the ledger as it is."""
    environment = Environment()
    catalogue = Catalogues(fixed_versions(), environment.now)
    ledger.follow_life(catalogue.life_at)
    settings = Settings(
        api=ApiSection(**{"requests_per_s": 100_000, "burst": 1_000_000, **api}),
        peer=[PeerSection(origin_host=each, realm="example.net") for each in peers],
        server=ServerSection(data_dir=str(data_dir or "none")),
    )
    limits = RateLimits(settings.api.requests_per_s, settings.api.burst, environment.monotonic)
    backend = Backend(ledger, catalogue, environment)
    history = history_of(settings, ledger, environment.now)
    notices = notices_of(settings, catalogue, environment.now)
    container = Container(backend, settings, metrics, limits, environment.monotonic, history=history, notices=notices)
    app = create(container, "1.2.3")
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://ocs.test") as client:
        try:
            yield Desk(app, client, container, ledger, metrics)
        finally:
            history.close()
            notices.close()
