"""Fair use of accounts in the EU (HOT-ROA-2 to -4): evaluated each day by the housekeeper, shown to care staff."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from ocs.accounts.errors import RefusedError, raising_refused
from ocs.catalogue.catalogue import EPOCH_ORDINAL
from ocs.catalogue.fair_use import FairUse
from ocs.ledger.contract.observations import FairUseStep, ObservationLedger
from ocs.ledger.contract.operations import AccountLedger
from ocs.ledger.contract.views import AccountView, CounterView
from ocs.policy.fair_use import Action, Decision, State, decide, is_over, next_look
from ocs.values.measures import AccountMeasure, MeasureKind
from ocs.values.presence import Observation

REASON = "fair use: presence and use mostly abroad"
"""Of the measure; one with another reason was put there by care and is not lifted."""
READ_TOGETHER = 200


class Ledger(AccountLedger, ObservationLedger, Protocol):
    @property
    def partitions(self) -> int: ...


class Offer(Protocol):
    """The part of the catalogue that fair use needs."""

    @property
    def fair_use(self) -> FairUse | None: ...

    def when(self, unix_s: int) -> dict[str, int]: ...

    def day_of(self, unix_s: int) -> int: ...


@dataclass(frozen=True, slots=True)
class Evaluation:
    account_id: str
    observed: Observation
    decision: Decision
    done: bool
    """The step was carried out; False = there was none, or it was a dry run, or another process was first."""


@dataclass(frozen=True, slots=True)
class FairUseView:
    view: AccountView
    volume: CounterView | None
    """The fair-use volume of the running period; None = nothing limits the account's data in the EU."""
    observed: Observation | None
    decision: Decision | None
    """What would be decided today; None = the account is not observed."""


class FairUseOperations:
    """`now`: Unix seconds."""

    def __init__(self, ledger: Ledger, offer: Offer, now: Callable[[], int]) -> None:
        self._ledger = ledger
        self._offer = offer
        self._now = now

    async def evaluate(self, account_id: str) -> Evaluation | None:
        """Decide for an account and carry it out, once however often it is called. None = it is not observed any more.

        LedgerError: "unreadable", "version", "clock", "measures".
        """
        table, observed = self._offer.fair_use, await self._ledger.observation(account_id)
        today = self._offer.day_of(self._now())
        if table is None or observed is None:
            return None
        limits, when = table.presence, self._offer.when(self._now())
        if await self._is_gone(account_id):
            await self._ledger.drop_observation(account_id)
            return None
        decision, done = decide(observed, today, limits), False
        if decision.action is not Action.NONE:
            step = self._step(table, observed, decision, today)
            done = await self._ledger.step_fair_use(account_id, step=step, **when)
        over = decision.state is State.NONE and is_over(observed, today, limits)
        if not over or not await self._ledger.end_observation(account_id, before_day=today - limits.window_days):
            await self._ledger.observe_again(account_id, day=next_look(observed, today, limits))
        return Evaluation(account_id, observed, decision, done)

    async def _is_gone(self, account_id: str) -> bool:
        """Terminated or moved: under its new id it is observed in its new partition."""
        try:
            with raising_refused():
                view = await self._ledger.read(account_id, **self._offer.when(self._now()))
        except RefusedError as error:
            if error.code == "moved":
                return True
            raise
        return view is None or view.state == "terminated" or view.account_id != account_id

    def _step(self, table: FairUse, observed: Observation, decision: Decision, today: int) -> FairUseStep:
        window = decision.window
        facts: dict[str, object] = {
            "why": ",".join(decision.why),
            "home_days": window.home_days,
            "abroad_days": window.abroad_days,
            "share": [[service, home, abroad] for service, (home, abroad) in sorted(window.use.items())],
            "deadline": day_text(decision.deadline) if decision.deadline else "",
            "sims": decision.sims,
        }
        measure = AccountMeasure(MeasureKind.FACT, table.surcharge, REASON, self._now())
        return FairUseStep(observed.state, decision.state.value, today, facts, measure)

    async def show(self, view: AccountView) -> FairUseView:
        """What care staff tells the subscriber."""
        table, found = self._offer.fair_use, await self._ledger.observation(view.account_id)
        if table is None:
            return FairUseView(view, None, None, None)
        volume = next((each for each in view.counters if each.id == table.counter.id), None)
        if volume is not None and volume.limit is None:
            volume = None
        today = self._offer.day_of(self._now())
        decision = decide(found, today, table.presence) if found is not None else None
        return FairUseView(view, volume, found, decision)

    async def foretell(self, at: int) -> AsyncIterator[Evaluation]:
        """What would be decided at that moment (Unix seconds) for each observed account; nothing is changed."""
        table, day = self._offer.fair_use, self._offer.day_of(at)
        if table is None:
            return
        for partition in range(self._ledger.partitions):
            async for account_id in self._ledger.observed_accounts(partition):
                observed = await self._ledger.observation(account_id)
                if observed is not None:
                    yield Evaluation(account_id, observed, decide(observed, day, table.presence), False)


def day_text(day: int) -> str:
    """ISO 8601 of a day since 1970-01-01."""
    return date.fromordinal(day + EPOCH_ORDINAL).isoformat()
