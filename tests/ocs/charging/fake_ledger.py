"""The model ledger as charging sees it: callbacks from the loop, look-ups counted, and gone when the test says so."""

from __future__ import annotations

import asyncio
from collections import Counter

from ocs.ledger.contract import ChargeDone, ChargeRequest, LedgerUnavailable
from tests.ocs.ledger.model import ModelLedger

NOW, MONTH = 1_795_000_000, 202611
EUR = 1_000_000


class FakeLedger:
    def __init__(self) -> None:
        self.model = ModelLedger()
        self.names: dict[str, str] = {}
        self.sessions: dict[str, str] = {}
        self.gone = False
        self.asked: Counter[str] = Counter()
        self.charged: list[ChargeRequest] = []

    def open(self, account_id: str, msisdn: str, imsi: str, credit: int = 20 * EUR) -> str:
        self.model.open_account(account_id, msisdn=msisdn, imsi=imsi, credit=credit, package=None, now=NOW, month=MONTH)
        self.names |= {"m" + msisdn: account_id, "i" + imsi: account_id}
        return account_id

    def credit(self, account_id: str) -> int:
        return self.model.accounts[account_id].credit

    # -- ChargingLedger

    def charge(self, request: ChargeRequest, done: ChargeDone) -> None:
        self.asked["charge"] += 1
        self.charged.append(request)
        if self.gone:
            asyncio.get_running_loop().call_soon(done, LedgerUnavailable("gone"))
            return
        outcome = self.model.charge(request)
        if outcome.code == 2001:
            self.sessions[request.session_id] = request.account_id
        asyncio.get_running_loop().call_soon(done, outcome)

    async def find_subscriber(self, identity: str) -> str | None:
        self.asked["find_subscriber"] += 1
        if self.gone:
            raise LedgerUnavailable("gone")
        return self.names.get(identity)

    async def find_session(self, session_id: str, owner: str) -> str | None:
        self.asked["find_session"] += 1
        if self.gone:
            raise LedgerUnavailable("gone")
        return self.sessions.get(session_id)
