"""Observation of presence and use at home and abroad, for accounts that were seen abroad (HOT-ROA-4).

An account is observed from its first use abroad until its days abroad have left the window. What is observed is kept
beside the account, not in its document: charging never reads it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ocs.ledger.contract.events import OutboxEvent
from ocs.values.measures import AccountMeasure
from ocs.values.presence import DayUse, Observation


@dataclass(frozen=True, slots=True)
class FairUseStep:
    """A change of the state of an account, journalled as an event `fair_use`."""

    before: str
    """The state that it must have, or nothing is done."""
    state: str
    day: int
    facts: Mapping[str, object]
    """Fields of the event."""
    measure: AccountMeasure | None = None
    """Put on the account when the surcharge begins, lifted when it ends if it is the one that was put there."""


Rows = Mapping[str, Mapping[int, DayUse]]
"""Account id → day → what to add."""


Sighting = tuple[str, str, int]
"""Pseudonym of an equipment, account that had it abroad, day."""


class ObservationLedger(Protocol):
    async def note_equipment(self, sightings: Iterable[Sighting], *, kept_days: int) -> None:
        """Remember which accounts had which equipment, the first few of each; safe to repeat."""

    async def observed_position(self, partition: int) -> int:
        """Sequence number of the partition's last event that was counted; 0 = none."""

    async def outbox_entries(
        self, wanted: Sequence[tuple[int, int]], *, count: int
    ) -> list[list[tuple[int, bytes]]]: ...

    def outbox_event(self, partition: int, entry: tuple[int, bytes]) -> OutboxEvent: ...

    async def observe(
        self, partition: int, *, expected: int, position: int, rows: Rows, window_days: int, kept_days: int
    ) -> int:
        """Add the rows and move the position from `expected` to `position`, in one step. Returns the position now: if
        it was not `expected`, nothing was added.
        """

    async def observation(self, account_id: str) -> Observation | None:
        """None = the account is not observed."""

    async def observations_due(self, partitions: Sequence[int], *, day: int, count: int) -> list[list[str]]:
        """Accounts of each partition that are to be evaluated up to that day, at most `count` of each."""

    async def observations_overdue(self, partitions: Sequence[int], *, day: int) -> list[int]:
        """How many accounts of each partition were to be evaluated before that day."""

    def observed_accounts(self, partition: int) -> AsyncIterator[str]:
        """All observed accounts; one may come twice."""

    async def observe_again(self, account_id: str, *, day: int) -> None:
        """Evaluate the account next on that day."""

    async def end_observation(self, account_id: str, *, before_day: int) -> bool:
        """Forget the account, unless it was abroad since that day or its state is not ""."""

    async def carry_observation(self, account_id: str, to: str) -> None:
        """The account, which is frozen, moves to another id: copy what is known of it. Safe to repeat."""

    async def drop_observation(self, account_id: str) -> None:
        """Forget an account that is terminated or has moved."""

    async def fair_use_states(self, partitions: Sequence[int]) -> list[dict[str, int]]:
        """Of each partition: how many accounts are "observed", and of these "warned" and with "surcharge"."""

    async def step_fair_use(self, account_id: str, *, step: FairUseStep, now: int, month: int, day: int = 0) -> bool:
        """Change the state once. False = the account was not in `step.before`. LedgerError: "moved", "unknown", "state"
        (terminated), "measures".
        """
