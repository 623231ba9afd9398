"""The model ledger with the interface that charging uses of `RedisLedger`.

Callbacks come from the event loop, look-ups are counted, and the test can make it unavailable. Like `RedisLedger` it
follows moved accounts and pools, and each opening, refused or not, stores the account of its session.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from ocs.ledger.contract.charging import ChargeOutcome, ChargeRequest, Retry
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.contract.operations import ChargeDone
from ocs.values.requests import RequestType
from tests.ocs.ledger.model import ModelLedger
from tests.ocs.ledger.model_state import owner_of

NOW, MONTH = 1_795_000_000, 202611
EUR = 1_000_000


class FakeLedger:
    def __init__(self) -> None:
        self.model = ModelLedger()
        self.names: dict[str, str] = {}
        self.hints: dict[tuple[str, str], str] = {}
        """By owner and Session-Id."""
        self.gone = False
        self.asked: Counter[str] = Counter()
        self.charged: list[ChargeRequest] = []

    def open(self, account_id: str, msisdn: str, imsi: str, credit: int = 20 * EUR) -> str:
        self.model.open_account(
            account_id=account_id,
            msisdn=msisdn,
            imsi=imsi,
            credit_micro_eur=credit,
            package=None,
            now=NOW,
            month=MONTH,
        )
        self.names |= {"m" + msisdn: account_id, "i" + imsi: account_id}
        return account_id

    def credit(self, account_id: str) -> int:
        return self.model.accounts[account_id].credit

    def top_up(self, account_id: str, amount: int, now: float = NOW) -> None:
        reference = f"r{len(self.model.events)}"
        self.model.top_up(account_id, amount_micro_eur=amount, reference=reference, now=int(now), month=MONTH)

    def spend(self, account_id: str, left: int) -> None:
        """Spends all credit except this amount."""
        account = self.model.accounts[account_id]
        account.credit = account.paid_in = left

    # -- ChargingLedger

    def charge(self, request: ChargeRequest, done: ChargeDone) -> None:
        self.asked["charge"] += 1
        self.charged.append(request)
        if self.gone:
            asyncio.get_running_loop().call_soon(done, LedgerUnavailable("gone"))
            return
        if request.type is RequestType.INITIAL:
            self.hints[owner_of(request), request.session_id] = request.account_id
        asyncio.get_running_loop().call_soon(done, self._follow(request))

    def _follow(self, request: ChargeRequest) -> ChargeOutcome:
        while True:
            outcome = self.model.charge(request)
            if outcome.retry not in (Retry.MOVED, Retry.POOL):
                return outcome
            if outcome.retry is Retry.MOVED:
                request.account_id = outcome.place
            else:
                request.pool = outcome.place

    async def find_subscriber(self, identity: str) -> str | None:
        self.asked["find_subscriber"] += 1
        if self.gone:
            raise LedgerUnavailable("gone")
        return self.names.get(identity)

    async def find_session(self, session_id: str, owner: str) -> str | None:
        self.asked["find_session"] += 1
        if self.gone:
            raise LedgerUnavailable("gone")
        return self.hints.get((owner, session_id))
