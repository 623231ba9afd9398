"""Subscriptions and pools of accounts, and moves to another partition. `contract.operations.AccountLedger` says what
each operation does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.operations import Saw
from ocs.ledger.redis import wire
from ocs.ledger.redis.accounts import REFERENCE_KEEP_S, when
from ocs.ledger.redis.client import REFUSALS, MovedError
from ocs.ledger.redis.keys import account_id as new_id
from ocs.ledger.redis.keys import session_name, uid_of
from ocs.ledger.redis.life import Life
from ocs.ledger.redis.views import moved_to, session_names
from ocs.values.identities import by_imsi, by_msisdn
from ocs.values.products import BenefitShare, PackageTerms

MAX_LOOKED_BACK = 4
"""Old ids of an account under which answers are looked for."""


class Products(Life):
    """Part of `RedisLedger`."""

    async def activate_package(
        self, account_id: str, *, package: PackageTerms, reference: str, now: int, month: int, day: int = 0
    ) -> bool:
        return await self.subscribe(account_id, product=package, reference=reference, now=now, month=month, day=day)

    async def subscribe(
        self,
        account_id: str,
        *,
        product: PackageTerms,
        reference: str,
        now: int,
        month: int,
        day: int = 0,
        starts_at: int = 0,
        armed: bool = False,
        any_state: bool = False,
        block: str = "",
        lift: str = "",
        separate: bool = False,
        saw: Saw | None = None,
    ) -> bool:
        terms = wire.package(product)
        arguments = {"what": "buy", "terms": terms, "reference": reference, "starts": starts_at, "armed": armed}
        arguments |= {"any_state": any_state, "block": block, "lift": lift, "separate": int(separate)}
        return await self._subscription(account_id, arguments, now, month, day, saw) == b"ok"

    async def unsubscribe(
        self,
        account_id: str,
        instance: int,
        *,
        at_once: bool,
        now: int,
        month: int,
        day: int = 0,
        shares: Sequence[BenefitShare] = (),
    ) -> None:
        arguments = {"what": "end", "instance": instance, "at_once": at_once, "shares": wire.shares(shares)}
        await self._subscription(account_id, arguments, now, month, day)

    async def set_next(
        self,
        account_id: str,
        instance: int,
        *,
        product: PackageTerms | None,
        now: int,
        month: int,
        day: int = 0,
    ) -> None:
        arguments = {"what": "next", "instance": instance, "terms": wire.package(product) if product else False}
        await self._subscription(account_id, arguments, now, month, day)

    async def _subscription(
        self, account_id: str, arguments: dict[str, Any], now: int, month: int, day: int, saw: Saw | None = None
    ) -> bytes:
        this_month, *before = self._account_keys(account_id).reference_months(month)
        arguments = {
            **arguments,
            "uid": uid_of(account_id),
            "keep_s": REFERENCE_KEEP_S,
            "asked_at": self._clock(),
            **when(now, month, day),
        }
        try:
            return await self._script("subscribe", account_id, arguments, this_month, before, saw)
        except LedgerError as error:
            if error.code == "instance":
                raise LedgerError("unknown", REFUSALS["instance"]) from None
            raise

    # -- pools

    async def open_pool(self, account_id: str, pool_id: str, *, now: int) -> None:
        await self._pool(account_id, "open", pool_id, when(now, 0, 0))

    async def join_pool(self, account_id: str, pool_id: str, *, now: int, month: int, day: int = 0) -> None:
        try:
            await self._pool(account_id, "join" if pool_id else "leave", pool_id, when(now, month, day))
        except LedgerError as error:
            if error.code == "pool_unknown":
                raise LedgerError("unknown", REFUSALS["pool_unknown"]) from None
            raise
        self._remember_pool(account_id, pool_id)

    async def limit_pool(
        self,
        account_id: str,
        *,
        bucket: str,
        units: int | None,
        common: bool,
        now: int,
        month: int,
        day: int = 0,
    ) -> None:
        most = wire.NO_LIMIT if units is None else wire.amount("units", units)
        more = {"bucket": bucket, "units": most, "common": common}
        await self._pool(account_id, "limit", "", {**when(now, month, day), **more})

    async def _pool(self, account_id: str, what: str, pool_id: str, at: dict[str, Any]) -> None:
        wanted = self._account_keys(account_id).pool + pool_id.encode()
        await self._script("pool", account_id, {"what": what, "wanted": pool_id, **at}, wanted)

    # -- layouts

    async def upgrade_account(self, account_id: str, *, now: int, month: int, day: int = 0) -> bool:
        try:
            return await self._script("upgrade", account_id, when(now, month, day)) == b"ok"
        except MovedError:
            return False

    # -- moves

    async def moved_to(self, account_id: str) -> str:
        """The id that an account has since it was moved; "" = it was not."""
        document = await self._document(account_id)
        return moved_to(document) if document else ""

    async def move_account(self, account_id: str, *, partition: int, now: int, month: int, day: int = 0) -> str:
        if not 0 <= partition < self._keys.partitions:
            raise LedgerError("range", f"partition is {partition}; it must be from 0 to {self._keys.partitions - 1}")
        target = new_id(partition, uid_of(account_id))
        if target == account_id:
            return account_id
        at = when(now, month, day)
        arguments = {"what": "freeze", "to": target, "keep_s": 0, **at}
        try:
            word, document = await self._run_script("move_out", account_id, arguments)
        except MovedError as error:
            return error.account_id
        if word != b"ok":
            code = "pool" if word == b"pooled" else word.decode()
            raise LedgerError(code, REFUSALS.get(word.decode(), code))
        frozen = self._layout.read("account", wire.unpack(document, unicode_errors="surrogateescape"))
        target = str(frozen["moved_to"])
        for session_id, owner in session_names(frozen):
            await self._move_hash(
                self._answers_key(account_id, session_id, owner), self._answers_key(target, session_id, owner)
            )
        await self._copy_references(account_id, target, month)
        await self.carry_observation(account_id, target)
        look_back_s = self._settings.remember_events_s
        before = [each for each in frozen["moved_from"].split() if each != target][: MAX_LOOKED_BACK - 1]
        moved_from = " ".join((account_id, *before))
        arguments = {"document": document, "of": account_id, "moved_from": moved_from, "look_back_s": look_back_s, **at}
        await self._script("move_in", target, arguments)
        await self._switch_index(frozen, account_id, target)
        keep_s = max(look_back_s, self._settings.remember_sessions_s)
        await self._run_script("move_out", account_id, {"what": "leave", "to": target, "keep_s": keep_s, **at})
        return target

    def _answers_key(self, account_id: str, session_id: str, owner: str) -> tuple[int, bytes]:
        name = account_id.encode() + b" " + session_name(session_id, owner)
        return self._keys.partition_of_account(account_id), self._account_keys(account_id).answers + name

    async def _move_hash(self, source: tuple[int, bytes], target: tuple[int, bytes]) -> None:
        """Move the answers of a session or one-off request, with their TTL. Answers at the target are newer and are not
        overwritten.
        """
        fields = await self._ask("move", source[0], b"HGETALL", source[1])
        if not fields:
            return
        left_ms = await self._ask("move", source[0], b"PTTL", source[1])
        for name, value in zip(fields[::2], fields[1::2], strict=True):
            await self._ask("move", target[0], b"HSETNX", target[1], name, value, durable=True)
        if left_ms > 0:
            await self._ask("move", target[0], b"PEXPIRE", target[1], left_ms, durable=True)
        await self._ask("move", source[0], b"UNLINK", source[1], durable=True)

    async def _copy_references(self, account_id: str, target: str, month: int) -> None:
        """Copy the account's used references to its new partition."""
        uid, source, to = uid_of(account_id).encode(), self._account_keys(account_id), self._account_keys(target)
        partitions = self._keys.partition_of_account(account_id), self._keys.partition_of_account(target)
        for key, new_key in zip(source.reference_months(month), to.reference_months(month), strict=True):
            cursor, found = b"0", []
            while True:
                cursor, page = await self._ask("move", partitions[0], b"HSCAN", key, cursor, b"COUNT", 1000)
                pairs = zip(page[::2], page[1::2], strict=True)
                # What was taken back of a returned payment has the amount after the uid.
                found += [part for name, value in pairs if value.split(b" ")[0] == uid for part in (name, value)]
                if cursor == b"0":
                    break
            if found:
                await self._ask("move", partitions[1], b"HSET", new_key, *found, durable=True)
                await self._ask("move", partitions[1], b"EXPIRE", new_key, REFERENCE_KEEP_S, durable=True)

    async def _switch_index(self, frozen: dict[str, Any], account_id: str, target: str) -> None:
        """Make the subscriber ids name the account's new id."""
        for name in (by_msisdn(frozen["msisdn"]), by_imsi(frozen["imsi"])):
            partition = self._keys.partition_of_name(name)
            subscribers = self._keys.by_partition[partition].subscribers
            await self._replace(partition, subscribers, name.encode(), account_id.encode(), target.encode())
