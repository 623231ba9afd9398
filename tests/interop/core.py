"""A server with its ledger, a P-GW and an S-CSCF on their own sockets: shared by the tests of dialects."""

from __future__ import annotations

import itertools
import re
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ocs.ledger.redis.ledger import RedisLedger
from protocol.credit_control import (
    CreditControlRequest,
    MultipleServicesCreditControl,
    ServiceInformation,
    SubscriptionId,
)
from tests.faults.harness import ANY_PORTS, MONTH, ONE_WORKER, Books, Serving
from tests.interop.wire import Answer, Peer, Wire
from tests.ocs.charging.ccr import KINDS
from tests.waiting import wait_for

EUR = 1_000_000
KB, MB = 1024, 1024 * 1024
MB_PRICE, MINUTE_PRICE = 6_900, 69_000
"""Micro-EUR at home, tests/data/catalogue.toml."""
OCS, REALM, MAGMA = "ocs.localdomain", "localdomain", "magma.com"
PGW, SCSCF, TERAVM = "smf.localdomain", "scscf.localdomain", "string"
"""Named as in the captures."""
CONFIG = f"""
[diameter]
identity = "{OCS}"
realm = "{REALM}"
realms = ["{MAGMA}"]
listen = ["127.0.0.1:0"]
[[peer]]
origin_host = "{PGW}"
realm = "{REALM}"
profile = "pgw"
[[peer]]
origin_host = "{SCSCF}"
realm = "{REALM}"
profile = "scscf"
[[peer]]
origin_host = "{TERAVM}"
realm = "{TERAVM}"
{ANY_PORTS}{ONE_WORKER}"""
"""Seconds until a worker's counters are in /metrics, and its events are records."""


def data_cost(octets: int) -> int:
    """Cost of a data session at home: whole kB, rounded half up."""
    return (MB_PRICE * -(-octets // KB) + KB // 2) // KB


@dataclass(frozen=True)
class Account:
    id: str
    msisdn: str
    imsi: str


class Core:
    """One server for many tests; each test has its own accounts and sessions."""

    def __init__(self, folder: Path, redis_url: str, config: str = CONFIG) -> None:
        self.serving = Serving(folder, redis_url, config)
        self.books = Books(redis_url).__enter__()
        self.wire = Wire(self.serving)
        self.pgw = self.wire.connect(PGW, REALM)
        self.scscf = self.wire.connect(SCSCF, REALM)
        self._numbers = itertools.count(38_668_300_000)

    def end(self) -> None:
        self.books.__exit__()
        self.wire.close()
        self.serving.end()

    @property
    def log(self) -> str:
        return (self.serving.folder / "log").read_text(encoding="utf-8")

    def account(self, credit_micro_eur: int = 20 * EUR, msisdn: str = "", imsi: str = "") -> Account:
        msisdn = msisdn or str(next(self._numbers))
        imsi = imsi or "29340" + msisdn[-10:]

        async def opened(ledger: RedisLedger) -> str:
            who: dict[str, Any] = {"msisdn": msisdn, "imsi": imsi, "entropy": int(msisdn)}
            when = {"now": int(time.time()), "month": MONTH}
            return await ledger.open_account(credit_micro_eur=credit_micro_eur, package=None, **who, **when)

        return Account(self.books.ask(opened), msisdn, imsi)

    def block(self, account: Account) -> None:
        when = {"now": int(time.time()), "month": MONTH}
        self.books.ask(lambda ledger: ledger.set_state(account.id, state="blocked", **when))

    @cached_property
    def recorded(self) -> Account:
        """The subscriber of the recorded P-GW and S-CSCF."""
        return self.account(msisdn="447700900001", imsi="001010000000001")

    def spent(self, account: Account) -> int:
        return self.books.view(account.id).spent_micro_eur

    def settled(self, account: Account, spent_micro_eur: int) -> None:
        """Checks the session's cost, that nothing is held and no session is open, and that the books are right."""
        view = self.books.view(account.id)
        assert (view.spent_micro_eur, view.held_micro_eur, view.sessions) == (spent_micro_eur, 0, ())
        assert self.books.audit().ok

    def report(self, session: Session) -> tuple[int, int]:
        """Units charged and units dropped of a session's one service, as the record of its end has them."""

        def found() -> list[Any]:
            own = [line for line in self.serving.records() if line.get("session_id") == session.sid]
            return [line["services"] for line in own if line.get("closed")]

        (services,) = wait_for(found)
        (service,) = services
        return service["used"], service["dropped"]

    def counted(self, name: str, **labels: str) -> float:
        wanted = ",".join(f'{key}="{value}"' for key, value in labels.items())
        found = re.search(rf"^{name}(?:_total)?{{{re.escape(wanted)}}} (\S+)$", self.serving.metrics(), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def is_counted(self, name: str, value: float, **labels: str) -> None:
        wait_for(lambda: self.counted(name, **labels) == value)


_sessions = itertools.count(1)


@dataclass
class Session:
    """A credit-control session of one subscriber, as one peer opens it."""

    peer: Peer
    account: Account
    context: str
    information: ServiceInformation | None
    sid: str = ""
    server_realm: str = REALM

    def __post_init__(self) -> None:
        self.sid = self.sid or f"{self.peer.host};{next(_sessions)};dialect"

    def request(
        self, kind: str, number: int, *services: MultipleServicesCreditControl, **more: Any
    ) -> CreditControlRequest:
        origin = self.peer.host, self.peer.realm
        request = CreditControlRequest(self.sid, *origin, self.server_realm, 4, self.context, KINDS[kind], number)
        request.subscription_id = [SubscriptionId(0, self.account.msisdn)]
        request.multiple_services_credit_control = list(services)
        request.service_information = self.information
        return replace(request, **more)

    def ask(self, kind: str, number: int, *services: MultipleServicesCreditControl, **more: Any) -> Answer:
        return self.peer.ask(self.request(kind, number, *services, **more))
