"""Business groups in the ledger (HOT-GRP-1 to HOT-GRP-5): the record of a group, and steps on it.

A group has a record beside the accounts; each account of it names the group and its role there. A step that changes
both is posted in the record first, then done, then removed: each may be done again, so whoever finds one continues it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ocs.ledger.contract.views import TransferView


class StepKind(StrEnum):
    JOIN = "join"
    LEAVE = "leave"
    ADMINISTRATOR = "administrator"
    """This number becomes the administrator, in place of the present one."""
    LIMIT = "limit"
    """The number gets a monthly spending limit: micro-EUR, -1 = none."""
    POOL = "pool"
    """The number moves to the partition of the group's pool, and joins it."""


@dataclass(frozen=True, slots=True)
class GroupStep:
    kind: StepKind
    account_id: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class GroupView:
    group_id: str
    name: str
    administrator: str
    """Account id of the administrator number, as of when it was stored: it may have moved (`locate`)."""
    payer: str
    """Reference of the company's bank account, which pays for every number (HOT-GRP-4); "" = none."""
    created_at: int
    """Unix seconds."""
    limit: int | None
    """Monthly spending limit that a number gets when it joins, micro-EUR, -1 = none; None = it keeps its own."""
    pool: str
    """Name of the shared pool; "" = none."""
    numbers: tuple[str, ...] = ()
    """Account ids of all numbers, the administrator's too, as of when they were stored."""
    steps: tuple[GroupStep, ...] = ()
    """That are not finished."""


class GroupLedger(Protocol):
    """LedgerError as in `AccountLedger`; on a group: "no_group", "full", "busy" (another step of the number)."""

    async def create_group(self, group_id: str, *, name: str, administrator: str, payer: str, now: int) -> None:
        """Store a group with the step by which its administrator joins."""

    async def read_group(self, group_id: str) -> GroupView | None: ...

    async def set_group(self, group_id: str, **fields: str) -> None:
        """Change `name` or `payer`. LedgerError: "no_group"."""

    async def post_step(self, group_id: str, step: GroupStep, *, now: int) -> bool:
        """Note a step that is to be done. False = it was noted before. LedgerError: "no_group", "full", "busy"."""

    async def post_for_all(self, group_id: str, kind: StepKind, value: str, *, now: int) -> None:
        """Set the group's `limit` or `pool`, and note the step of this kind for each of its numbers, at once.
        LedgerError: "no_group".
        """

    async def finish_step(self, group_id: str, step: GroupStep, *, dropped: bool = False) -> None:
        """The step was done on the account: change the group's record, and forget the step. Who has joined gets steps
        for the group's limit and pool. `dropped`: it was refused; only forget it. A group whose administrator could not
        join is deleted.
        """

    async def note_number(self, group_id: str, account_id: str) -> None:
        """The account of a number has this id now."""

    async def group_ids(self, partition: int) -> list[str]: ...

    async def unfinished_groups(self, partition: int, *, before: int, count: int) -> list[str]:
        """Groups with a step that was posted before a Unix time."""

    async def locate(self, account_id: str) -> str | None:
        """The id that an account has now, after moves; None = there is none any more."""

    async def join_group(
        self, account_id: str, *, group_id: str, role: str, now: int, month: int, day: int = 0
    ) -> bool:
        """The account names the group. False = it did before. LedgerError: "grouped", "state", "unknown"."""

    async def leave_group(self, account_id: str, *, group_id: str, now: int, month: int, day: int = 0) -> bool:
        """A terminated account leaves too. False = it was not in it. LedgerError: "unknown"."""

    async def set_puk(self, account_id: str, *, salt: str, digest: str, now: int, month: int, day: int = 0) -> None:
        """What is stored of the PUK1 of the account's SIM; "" = it is not known. Wrong entries are forgotten."""

    async def begin_puk_entry(self, account_id: str, *, now: int, month: int, day: int = 0) -> tuple[str, str]:
        """Count an entry, and return salt and digest to compare it with. LedgerError: "no_puk", "puk_blocked"."""

    async def puk_was_right(self, account_id: str, *, now: int, month: int, day: int = 0) -> None: ...

    async def set_separate(self, account_id: str, *, is_open: bool, now: int, month: int, day: int = 0) -> bool:
        """Open or close the separate account (HOT-GRP-5). What is left of it is the account's credit then. False = it
        was so before. LedgerError: "separate" (it has credit, and the account is in a group), "ceiling".
        """


class TransferLedger(Protocol):
    """Transfers between accounts (HOT-GRP-2)."""

    async def transfer(
        self,
        account_id: str,
        *,
        to: str,
        amount_micro_eur: int,
        group_id: str,
        reference: str,
        now: int,
        month: int,
        day: int = 0,
        with_promotional: bool = False,
    ) -> bool:
        """Transfer credit between the administrator and a member of a group, once per reference. What is held stays;
        promotional credit stays, unless `with_promotional`, and stays promotional. False = the reference was applied
        before. If the receiver refuses, the sender has its money back, and the reference may be used again.

        LedgerError: "group" (no such pair in the group), "funds", "ceiling" (HOT-ACC-7), "state" (the sender is not
        active, or the receiver terminated), "reference", "transfers" (too many are not finished), "unknown".
        LedgerUnavailable: it is continued later, or when it is repeated.
        """

    async def begin_transfer(
        self,
        account_id: str,
        *,
        to: str,
        amount_micro_eur: int,
        group_id: str,
        reference: str,
        now: int,
        month: int,
        day: int = 0,
        with_promotional: bool = False,
    ) -> TransferView | None:
        """Only the sender's part of `transfer`. Returns what is in transit; None = it was applied before, and is done.
        LedgerError: as `transfer`.
        """

    async def continue_transfer(
        self, account_id: str, transfer: TransferView, *, now: int, month: int, day: int = 0
    ) -> str:
        """Bring a transfer in transit to its end. Returns why the money went back, "" = it has arrived."""

    async def continue_transfers(
        self, account_id: str, *, before: int, now: int, month: int, day: int = 0
    ) -> list[tuple[TransferView, str]]:
        """Continue the account's transfers that began up to a Unix time; each with what `continue_transfer` returns."""

    async def unfinished_transfers(self, partition: int, *, before: int, count: int) -> list[str]:
        """Accounts with a transfer in transit since before a Unix time."""
