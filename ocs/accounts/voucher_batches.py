"""Batches of vouchers (HOT-TOP-2): made, activated when they are sold, blocked, looked at.

The plain numbers of a batch exist once: in the file that `generate` writes. The ledger has their keyed hashes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from ocs.accounts.errors import InputError, RefusedError, UnknownError, raising_refused
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.contract.limits import MAX_BATCH_ACTIONS
from ocs.ledger.contract.vouchers import Batch, BatchView, NewVoucher, VoucherLedger, VoucherState, VoucherView
from ocs.values.actor import ACTOR
from ocs.values.moment import utc_text
from ocs.values.money import CREDIT_CEILING_MICRO_EUR, format_eur
from ocs.values.partition_rotation import batches
from ocs.values.voucher_numbers import VoucherNumber, draw, voucher_id

BATCH_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}"
MAX_VOUCHERS = 1_000_000
"""Of one batch."""
MADE_TOGETHER = 50_000
"""Vouchers that are drawn before they are stored, so that one script stores many of a partition."""
CHANGED_TOGETHER = 200
"""Vouchers of a partition that one script changes: charging waits for it."""
PARTITIONS_TOGETHER = 8
"""Scripts under way at a time: charging waits for Redis's fsync after each few."""
TRIES = 10
TRY_AGAIN_S = 1.0
"""Pause after Redis did not answer in time."""
HEADER = "serial,number,value_eur,expires\n"


@dataclass(frozen=True, slots=True)
class Changed:
    vouchers: int
    redeemed: int
    """Vouchers that were redeemed before, or are being redeemed: they stay as they are."""


@dataclass(frozen=True, slots=True)
class Serials:
    """Part of a batch: serial numbers from `first` to `last`."""

    first: int
    last: int

    def __contains__(self, serial: int) -> bool:
        return self.first <= serial <= self.last


def batch_name(text: str) -> str:
    if not re.fullmatch(BATCH_NAME, text):
        raise InputError("batch", f"{text!r} must have 1 to 32 letters, digits, - and _")
    return text


def voucher_count(count: int) -> int:
    if not 1 <= count <= MAX_VOUCHERS:
        raise InputError("count", f"a batch has 1 to {MAX_VOUCHERS} vouchers")
    return count


def voucher_value(micro_eur: int) -> int:
    """A voucher that nobody could redeem is not made (HOT-ACC-7)."""
    if not 0 < micro_eur <= CREDIT_CEILING_MICRO_EUR:
        raise InputError("value", f"a voucher has a value up to {format_eur(CREDIT_CEILING_MICRO_EUR)} EUR")
    return micro_eur


def serials(text: str) -> Serials:
    """ "17" or "100-199"."""
    found = re.fullmatch(r"([0-9]{1,7})(?:-([0-9]{1,7}))?", text, re.ASCII)
    if found is None or (found.group(2) is not None and int(found.group(2)) < int(found.group(1))):
        raise InputError("serials", f"{text!r} must be a serial number or a range of them, such as 17 or 100-199")
    return Serials(int(found.group(1)), int(found.group(2) or found.group(1)))


class BatchOperations:
    """`now` gives Unix seconds, `below` a secure random whole number below its argument; `key`: that
    of the operator's file, or None.
    """

    def __init__(
        self, ledger: VoucherLedger, now: Callable[[], int], below: Callable[[int], int], key: bytes | None
    ) -> None:
        self._ledger, self._now, self._below, self._key = ledger, now, below, key

    async def _key_in_force(self) -> bytes:
        with raising_refused():
            return await self._ledger.voucher_key(self._key)

    # -- making

    async def generate(
        self,
        *,
        name: str,
        count: int,
        value_micro_eur: int,
        expires_at: int,
        file: Path,
        made: Callable[[int], None] = lambda count: None,
    ) -> Batch:
        """Make a batch and write its numbers to a new file that only its owner can read. None of them can be redeemed
        before it is activated. `made` is told how many were made.

        If it is interrupted, the batch is not complete and can only be discarded; the file has not been given its name.
        RefusedError: "exists" (a batch of this name, or the file).
        """
        _refuse_existing(file)
        batch = Batch(name, count, value_micro_eur, expires_at, self._now(), ACTOR.get())
        with raising_refused():
            if not await self._ledger.create_batch(batch):
                raise RefusedError("exists", f"there is a batch {name} already")
        key = await self._key_in_force()
        unfinished = file.with_name(f".{file.name}.unfinished")
        with _private_file(unfinished) as numbers:
            numbers.write(HEADER)
            for first in range(1, count + 1, MADE_TOGETHER):
                together = min(MADE_TOGETHER, count + 1 - first)
                await self._make(batch, key, first, together, numbers, made)
            numbers.flush()
            os.fsync(numbers.fileno())
        complete = replace(batch, complete=True, actions=(self._action(f"{count} generated"),))
        os.link(unfinished, file)  # FileExistsError: it was made meanwhile
        unfinished.unlink()
        _sync_folder(file.parent)
        with raising_refused():
            if not await self._ledger.replace_batch(batch, complete):
                raise RefusedError("batch", f"batch {name} was discarded meanwhile: {file} is worth nothing, delete it")
        return complete

    async def _make(
        self, batch: Batch, key: bytes, first: int, count: int, numbers: IO[str], made: Callable[[int], None]
    ) -> None:
        """Make vouchers with the serial numbers from `first` on."""
        expires = utc_text(batch.expires_at) if batch.expires_at else ""
        value = format_eur(batch.value_micro_eur)
        drawn: dict[int, VoucherNumber] = {}
        open_serials = list(range(first, first + count))
        while open_serials:
            drawn.update((serial, draw(self._below)) for serial in open_serials)
            vouchers = [NewVoucher(voucher_id(drawn[serial], key), serial) for serial in open_serials]
            taken = await self._store(batch, vouchers)
            made(len(vouchers) - len(taken))
            open_serials = [each.serial for each in taken]
        numbers.writelines(f"{serial},{number},{value},{expires}\n" for serial, number in sorted(drawn.items()))

    async def _store(self, batch: Batch, vouchers: Sequence[NewVoucher]) -> list[NewVoucher]:
        """Store vouchers, some partitions at a time; returns those whose id is taken."""
        by_partition: dict[int, list[NewVoucher]] = {}
        for each in vouchers:
            by_partition.setdefault(self._ledger.partition_of_voucher(each.voucher_id), []).append(each)
        taken: list[NewVoucher] = []
        for some in batches(sorted(by_partition), PARTITIONS_TOGETHER):
            found = await asyncio.gather(*(self._add(batch, by_partition[partition]) for partition in some))
            taken += [each for answer in found for each in answer]
        return taken

    async def _add(self, batch: Batch, vouchers: Sequence[NewVoucher]) -> list[NewVoucher]:
        """Store vouchers of one partition. It may be repeated: what is stored is known by batch and serial number."""
        taken: list[NewVoucher] = []
        for begin in range(0, len(vouchers), CHANGED_TOGETHER):
            some = vouchers[begin : begin + CHANGED_TOGETHER]
            for left in reversed(range(TRIES)):
                try:
                    with raising_refused():
                        taken += await self._ledger.add_vouchers(batch, some, now=batch.made_at)
                    break
                except LedgerUnavailable:
                    if not left:
                        raise
                    await asyncio.sleep(TRY_AGAIN_S)
        return taken

    async def discard(self, name: str) -> None:
        """Delete a batch whose making was interrupted. RefusedError "complete"."""
        batch = await self._batch(name)
        if batch.complete:
            raise RefusedError("complete", f"batch {name} is complete: its vouchers can be blocked, not deleted")
        with raising_refused():
            await self._ledger.delete_batch(batch)

    # -- activating, blocking

    async def activate(self, name: str, part: Serials | None = None) -> Changed:
        """From now on the vouchers can be redeemed; blocked ones too. After a crash, call it again: it continues."""
        return await self._set_state(name, VoucherState.ACTIVE, part)

    async def block(self, name: str, part: Serials | None = None) -> Changed:
        """From now on the vouchers cannot be redeemed, until they are activated. After a crash, call it again."""
        return await self._set_state(name, VoucherState.BLOCKED, part)

    async def _set_state(self, name: str, state: VoucherState, part: Serials | None) -> Changed:
        batch = await self._batch(name)
        if not batch.complete:
            raise RefusedError("batch", f"making batch {name} was interrupted: discard it")
        done: list[Changed] = []
        with raising_refused():
            for some in batches(range(self._ledger.partitions), PARTITIONS_TOGETHER):
                done += await asyncio.gather(*(self._set_in_partition(name, n, state, part) for n in some))
        changed = Changed(sum([each.vouchers for each in done]), sum([each.redeemed for each in done]))
        of = f" of {part.first}-{part.last}" if part else ""
        await self._note(name, f"{changed.vouchers}{of} {state}")
        return changed

    async def _set_in_partition(self, name: str, partition: int, state: VoucherState, part: Serials | None) -> Changed:
        found = await self._ledger.voucher_ids(name, partition)
        ids = [each.voucher_id for each in found if part is None or each.serial in part]
        changed = redeemed = 0
        for begin in range(0, len(ids), CHANGED_TOGETHER):
            some = ids[begin : begin + CHANGED_TOGETHER]
            more = await self._ledger.set_voucher_state(some, batch=name, state=state, now=self._now())
            changed, redeemed = changed + more[0], redeemed + more[1]
        return Changed(changed, redeemed)

    def _action(self, what: str) -> str:
        by = ACTOR.get()
        return f"{utc_text(self._now())} {what}{f' by {by}' if by else ''}"

    async def _note(self, name: str, what: str) -> None:
        """Note an action; another one may note his at the same time."""
        action = self._action(what)
        while True:
            batch = await self._batch(name)
            actions = (*batch.actions, action)[-MAX_BATCH_ACTIONS:]
            with raising_refused():
                if await self._ledger.replace_batch(batch, replace(batch, actions=actions)):
                    return

    # -- looking

    async def all(self) -> list[BatchView]:
        with raising_refused():
            return await self._ledger.batches()

    async def batch(self, name: str) -> BatchView:
        """UnknownError "batch"."""
        for each in await self.all():
            if each.batch.id == name:
                return each
        raise UnknownError("batch", f"there is no batch {name}")

    async def _batch(self, name: str) -> Batch:
        """UnknownError "batch"."""
        with raising_refused():
            found = await self._ledger.voucher_batch(name)
        if found is None:
            raise UnknownError("batch", f"there is no batch {name}")
        return found

    async def by_number(self, number: VoucherNumber) -> VoucherView:
        """For customer care. UnknownError "voucher"."""
        id_ = voucher_id(number, await self._key_in_force())
        with raising_refused():
            found = await self._ledger.voucher(id_)
        if found is None:
            raise UnknownError("voucher", "there is no voucher with this number")
        return found

    async def by_serial(self, name: str, serial: int) -> VoucherView:
        """UnknownError "batch", "voucher"."""
        await self._batch(name)
        with raising_refused():
            found = await asyncio.gather(
                *(self._ledger.voucher_of_serial(name, serial, n) for n in range(self._ledger.partitions))
            )
        for each in found:
            if each is not None:
                return each
        raise UnknownError("voucher", f"batch {name} has no voucher {serial}, or it is forgotten")


def _refuse_existing(file: Path) -> None:
    if file.exists():
        raise RefusedError("exists", f"{file} exists already: its numbers are not overwritten")


@contextlib.contextmanager
def _private_file(path: Path) -> Iterator[IO[str]]:
    """A new file with mode 0600. It is deleted if it cannot be finished."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            os.fchmod(file.fileno(), 0o600)
            yield file
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
