"""Business groups (HOT-GRP-1, HOT-GRP-5): an administrator number, member numbers, one payer, limits, a shared pool.

A step on a group and an account is posted in the group's record, done on the account, and finished; each part may be
repeated. What a crash leaves is continued by the next operation on the group, or by the back office
(`continue_steps`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ocs.accounts.errors import RefusedError, UnknownError, raising_refused
from ocs.accounts.operations import AccountOperations, Offer
from ocs.ledger.contract.errors import LedgerError, LedgerUnavailable
from ocs.ledger.contract.groups import GroupLedger, GroupStep, GroupView, StepKind
from ocs.ledger.contract.operations import AccountLedger
from ocs.ledger.contract.views import AccountView
from ocs.policy import puk as puks
from ocs.policy.groups import ADMINISTRATOR, MEMBER
from ocs.values.identities import Imsi, Msisdn
from ocs.values.moment import When, when_of
from ocs.values.partition_rotation import batches
from ocs.values.products import PackageTerms

T = TypeVar("T")
TRIES = 4
"""Times that an account is looked for again because it has moved meanwhile."""
NO_LIMIT = -1
LATER = frozenset(("clock", "version", "unreadable", "sessions", "moved"))
"""Codes of refusals after which a step is tried again later."""
GROUPS_TOGETHER = 20
"""Groups of a partition whose steps are continued in one pass."""
PARTITIONS_TOGETHER = 64
"""Partitions whose groups are read at once."""
READ_TOGETHER = 50
"""Numbers of a group read at once."""


class Ledger(GroupLedger, AccountLedger, Protocol):
    @property
    def partitions(self) -> int: ...


@dataclass(frozen=True, slots=True)
class GroupState:
    group: GroupView
    numbers: tuple[AccountView, ...]
    """The administrator first, then by MSISDN. Terminated ones are left out."""


class GroupOperations:
    """`now` gives Unix seconds, `entropy` 64 random bits."""

    def __init__(
        self,
        accounts: AccountOperations,
        ledger: Ledger,
        offer: Offer,
        now: Callable[[], int],
        entropy: Callable[[], int],
    ) -> None:
        self._accounts, self._ledger, self._offer = accounts, ledger, offer
        self._now, self._entropy = now, entropy

    def _when(self) -> When:
        return when_of(self._offer.when(self._now()))

    # -- the group

    async def create(self, *, name: str, administrator: Msisdn, payer: str = "") -> GroupState:
        """Create a group with its administrator number. The same name for the same number again returns that group.
        RefusedError: "grouped" (the number is in a group), "state".
        """
        view = (await self._accounts.read(administrator)).view
        if view.group:
            known = await self._group(view.group)
            if view.role == ADMINISTRATOR and known.name == name:
                return await self.read(view.group)
            raise RefusedError("grouped", f"{administrator} is in the group {view.group} already")
        group_id = f"{self._entropy():016x}"
        with raising_refused():
            await self._ledger.create_group(
                group_id, name=name, administrator=view.account_id, payer=payer, now=self._now()
            )
        await self._run(group_id, GroupStep(StepKind.JOIN, view.account_id))
        return await self.read(group_id)

    async def read(self, group_id: str) -> GroupState:
        """UnknownError: "group"."""
        group = await self._group(group_id)
        found: list[AccountView] = []
        for at in range(0, len(group.numbers), READ_TOGETHER):
            some = await asyncio.gather(*(self._seen(each) for each in group.numbers[at : at + READ_TOGETHER]))
            found += [view for view in some if view is not None and view.state != "terminated"]
        found.sort(key=lambda view: (view.role != ADMINISTRATOR, view.msisdn))
        return GroupState(group, tuple(found))

    async def all(self) -> list[GroupView]:
        """By id."""
        found: list[GroupView] = []
        for some in batches(range(self._ledger.partitions), PARTITIONS_TOGETHER):
            ids = await asyncio.gather(*(self._ledger.group_ids(each) for each in some))
            views = await asyncio.gather(*(self._ledger.read_group(each) for part in ids for each in part))
            found += [view for view in views if view is not None]
        return sorted(found, key=lambda view: view.group_id)

    async def group_of(self, msisdn: Msisdn) -> str:
        """Id of the number's group. RefusedError: "no_group"."""
        view = (await self._accounts.read(msisdn)).view
        if not view.group:
            raise RefusedError("no_group", f"{msisdn} is in no business group")
        return view.group

    async def set_payer(self, group_id: str, *, payer: str) -> None:
        """The company's bank account that pays for every number (HOT-GRP-4); "" = none."""
        with raising_refused():
            await self._ledger.set_group(group_id, payer=payer)

    async def rename(self, group_id: str, *, name: str) -> None:
        with raising_refused():
            await self._ledger.set_group(group_id, name=name)

    # -- its numbers

    async def add(self, group_id: str, *, msisdn: Msisdn, puk: str) -> bool:
        """Add an existing number, with its PUK1. It gets the group's spending limit and pool. False = it is in the
        group already. RefusedError: "grouped", "puk", "no_puk", "puk_blocked", "full", "state".
        """
        await self.continue_steps(group_id)
        view = (await self._accounts.read(msisdn)).view
        if view.group == group_id:
            return False
        await self.check_puk(msisdn, puk=puk)  # before anything is said of the number
        if view.group:
            raise RefusedError("grouped", f"{msisdn} is in another business group: it must leave that first")
        await self._do(group_id, GroupStep(StepKind.JOIN, view.account_id))
        for step in (await self._group(group_id)).steps:  # for the group's limit and pool
            if step.account_id == view.account_id:
                await self._run(group_id, step)
        return True

    async def add_new(
        self, group_id: str, *, msisdn: Msisdn, imsi: Imsi, puk: str, package: PackageTerms | None
    ) -> bool:
        """Open an account for a new number and add it. Called again after a crash, it continues: an account that has
        this number, IMSI and PUK1 is added. RefusedError: as `add`, "exists".
        """
        await self._group(group_id)
        if await self._accounts.find_or_none(msisdn) is None:
            await self._accounts.open(msisdn=msisdn, imsi=imsi, credit_micro_eur=0, package=package, puk=puk)
        view = (await self._accounts.read(msisdn)).view
        if view.imsi != imsi:
            raise RefusedError("exists", f"{msisdn} belongs to an account already")
        return await self.add(group_id, msisdn=msisdn, puk=puk)

    async def remove(self, group_id: str, *, msisdn: Msisdn) -> bool:
        """Take a member out of the group. Its account stays as it is. False = it is not in the group. RefusedError:
        "administrator" (another must become administrator first).
        """
        await self.continue_steps(group_id)
        view = (await self._accounts.read(msisdn)).view
        if view.group != group_id:
            return False
        if view.role == ADMINISTRATOR:
            raise RefusedError("administrator", f"{msisdn} is the administrator: name another one first")
        await self._do(group_id, GroupStep(StepKind.LEAVE, view.account_id))
        return True

    async def change_administrator(self, group_id: str, *, msisdn: Msisdn) -> bool:
        """A member becomes the administrator, and the administrator a member. False = it is the administrator.
        RefusedError: "group" (the number is not in the group).
        """
        await self.continue_steps(group_id)
        view = (await self._accounts.read(msisdn)).view
        if view.group != group_id:
            raise RefusedError("group", f"{msisdn} is not in the group: add it first")
        if view.role == ADMINISTRATOR:
            return False
        await self._do(group_id, GroupStep(StepKind.ADMINISTRATOR, view.account_id))
        return True

    # -- limits and pool

    async def set_limit(self, group_id: str, *, micro_eur: int | None) -> int:
        """Set the monthly spending limit of every number, and of those that join later; None = no limit (HOT-CC-1).
        Returns how many numbers there are.
        """
        value = str(NO_LIMIT if micro_eur is None else micro_eur)
        await self.continue_steps(group_id)
        return await self._for_all(group_id, StepKind.LIMIT, value)

    async def share(self, group_id: str) -> int:
        """Let all numbers, and those that join later, share the units of products that are `shared` (HOT-PKG-14). Their
        accounts move to the partition of the administrator's. Returns how many numbers there are. RefusedError: "pool"
        (a number is in another pool), "sessions".
        """
        name = f"group-{group_id}"
        await self.continue_steps(group_id)
        group = await self._group(group_id)
        account_id = await self._located(group.administrator)
        with raising_refused():
            await self._ledger.open_pool(account_id, name, now=self._now())
            await self._ledger.join_pool(account_id, name, **self._when())
        return await self._for_all(group_id, StepKind.POOL, name)

    async def _for_all(self, group_id: str, kind: StepKind, value: str) -> int:
        with raising_refused():
            await self._ledger.post_for_all(group_id, kind, value, now=self._now())
        steps = [each for each in (await self._group(group_id)).steps if each.kind is kind]
        refused = [each for each in [await self._tried(group_id, step) for step in steps] if each is not None]
        if refused:
            raise refused[0]
        return len(steps)

    # -- PUK1, separate account

    async def set_puk(self, msisdn: Msisdn, *, puk: str) -> None:
        """Store the PUK1 of the number's SIM, hashed; "" = it is not known any more."""
        account_id = await self._accounts.find(msisdn)
        salt, digest = await self._accounts.hashed(puk) if puk else ("", "")
        with raising_refused():
            await self._ledger.set_puk(account_id, salt=salt, digest=digest, **self._when())

    async def check_puk(self, msisdn: Msisdn, *, puk: str) -> None:
        """RefusedError: "puk" (it is another), "no_puk", "puk_blocked"."""
        account_id = await self._accounts.find(msisdn)
        with raising_refused():
            salt, stored = await self._ledger.begin_puk_entry(account_id, **self._when())
            if not await asyncio.to_thread(puks.is_right, puk, salt, stored):
                raise RefusedError("puk", f"this is not the PUK1 of the SIM of {msisdn}")
            await self._ledger.puk_was_right(account_id, **self._when())

    async def set_separate(self, msisdn: Msisdn, *, is_open: bool) -> bool:
        """Open or close the separate account of a number (HOT-GRP-5). False = it was so before. RefusedError:
        "separate" (it has credit, and the number is in a group), "ceiling".
        """
        account_id = await self._accounts.find(msisdn)
        with raising_refused():
            return await self._ledger.set_separate(account_id, is_open=is_open, **self._when())

    # -- steps

    async def continue_steps(self, group_id: str) -> list[tuple[GroupStep, RefusedError | None]]:
        """Do what is not finished; each step with its refusal, None = it is done. UnknownError: "group"."""
        group = await self._group(group_id)
        return [(step, await self._tried(group_id, step)) for step in group.steps]

    async def continue_partition(self, partition: int, *, before: int) -> tuple[int, int]:
        """Continue steps that were posted before a Unix time, of the partition's groups. Returns how many are finished,
        and how many cannot be now.
        """
        finished = stuck = 0
        for group_id in await self._ledger.unfinished_groups(partition, before=before, count=GROUPS_TOGETHER):
            try:
                done = await self.continue_steps(group_id)
            except (LedgerError, LedgerUnavailable, UnknownError):
                stuck += 1
                continue
            later = sum(refused is not None and refused.code in LATER for _, refused in done)
            finished, stuck = finished + len(done) - later, stuck + later
        return finished, stuck

    async def tidy(self, group_id: str) -> list[str]:
        """Take terminated accounts out of the group, and note the ids of those that have moved. Returns those that were
        taken out. The administrator stays: care names another one.
        """
        group, gone = await self._group(group_id), []
        for account_id in group.numbers:
            located = await self._ledger.locate(account_id)
            view = await self._ledger.read(located, **self._when()) if located is not None else None
            if located is not None and located != account_id:
                await self._ledger.note_number(group_id, located)
            over = located is None or (view is not None and view.state == "terminated")
            if over and account_id != group.administrator:
                step = GroupStep(StepKind.LEAVE, located or account_id)
                await self._ledger.post_step(group_id, step, now=self._now())
                await self._tried(group_id, step)
                gone.append(account_id)
        return gone

    async def _do(self, group_id: str, step: GroupStep) -> None:
        with raising_refused():
            await self._ledger.post_step(group_id, step, now=self._now())
        await self._run(group_id, step)

    async def _tried(self, group_id: str, step: GroupStep) -> RefusedError | None:
        try:
            await self._run(group_id, step)
        except RefusedError as refused:
            return refused
        return None

    async def _run(self, group_id: str, step: GroupStep) -> None:
        """Do a step that is posted, and finish it. RefusedError: it is dropped."""
        group = await self._group(group_id)
        try:
            with raising_refused():
                account_id = await self._followed(step.account_id, lambda each: self._apply(group, step, each))
        except RefusedError as refused:
            if refused.code == "unknown" and step.kind is StepKind.LEAVE:  # its account does not exist any more
                await self._ledger.finish_step(group_id, step)
                return
            if refused.code not in LATER:
                await self._ledger.finish_step(group_id, step, dropped=True)
            raise
        await self._ledger.finish_step(group_id, GroupStep(step.kind, account_id, step.value))

    async def _apply(self, group: GroupView, step: GroupStep, account_id: str) -> str:
        """The account's part of a step. Returns the account's id afterwards."""
        ledger, when, uid = self._ledger, self._when(), account_id.partition("-")[2]
        if step.kind is StepKind.JOIN:
            is_first = group.administrator.partition("-")[2] == uid
            role = ADMINISTRATOR if is_first else MEMBER
            await ledger.join_group(account_id, group_id=group.group_id, role=role, **when)
        elif step.kind is StepKind.LEAVE:
            await ledger.leave_group(account_id, group_id=group.group_id, **when)
        elif step.kind is StepKind.ADMINISTRATOR:
            await ledger.join_group(account_id, group_id=group.group_id, role=ADMINISTRATOR, **when)
            await self._demote(group, account_id)
        elif step.kind is StepKind.LIMIT:
            limit = int(step.value)
            await ledger.set_limit(account_id, limit_micro_eur=None if limit < 0 else limit, **when)
        else:
            return await self._pooled(group, step, account_id)
        return account_id

    async def _demote(self, group: GroupView, new: str) -> None:
        """The administrator becomes a member, unless its account has ended."""

        async def to_member(account_id: str) -> str:
            await self._ledger.join_group(account_id, group_id=group.group_id, role=MEMBER, **self._when())
            return account_id

        if group.administrator.partition("-")[2] == new.partition("-")[2]:
            return
        try:
            await self._followed(group.administrator, to_member)
        except LedgerError as error:
            if error.code not in ("state", "unknown"):
                raise

    async def _pooled(self, group: GroupView, step: GroupStep, account_id: str) -> str:
        view = await self._ledger.read(account_id, **self._when())
        if view is None:
            raise LedgerError("moved", f"account {account_id} has moved")
        if view.pool == step.value:
            return account_id
        if view.pool:
            raise LedgerError("pool", f"{view.msisdn} is in the pool {view.pool}: it must leave it first")
        partition = int((await self._located(group.administrator)).partition("-")[0])
        moved = await self._ledger.move_account(account_id, partition=partition, **self._when())
        await self._ledger.join_pool(moved, step.value, **self._when())
        return moved

    # -- accounts of the group, wherever they are

    async def _group(self, group_id: str) -> GroupView:
        group = await self._ledger.read_group(group_id)
        if group is None:
            raise UnknownError("group", f"there is no business group {group_id}")
        return group

    async def _located(self, account_id: str) -> str:
        located = await self._ledger.locate(account_id)
        if located is None:
            raise UnknownError("account", "the administrator's account does not exist any more: name another number")
        return located

    async def _seen(self, account_id: str) -> AccountView | None:
        located = await self._ledger.locate(account_id)
        return await self._ledger.read(located, **self._when()) if located is not None else None

    async def _followed(self, account_id: str, ask: Callable[[str], Awaitable[T]]) -> T:
        """Ask the account by the id that it has now. LedgerUnavailable: it is being moved."""
        for _ in range(TRIES):
            try:
                return await ask(account_id)
            except LedgerError as error:
                if error.code not in ("moved", "unknown"):
                    raise
                located = await self._ledger.locate(account_id)
                if located is None:
                    raise
                account_id = located
        raise LedgerUnavailable(f"account {account_id} is being moved")
