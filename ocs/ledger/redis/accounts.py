"""Operations on accounts: opening, top-up, settings, end. `contract.operations.AccountLedger` says what each does."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ocs.ledger.contract.errors import LedgerError, LedgerUnavailable
from ocs.ledger.contract.operations import CustomerField, Saw
from ocs.ledger.contract.views import AccountView, PoolView
from ocs.ledger.redis import views, wire
from ocs.ledger.redis.client import REFUSALS, MovedError
from ocs.ledger.redis.keys import uid_of
from ocs.ledger.redis.subscriber_index import SubscriberIndex
from ocs.values.identities import by_imsi, by_msisdn
from ocs.values.measures import AccountMeasure, MeasureKind
from ocs.values.moment import DAY_S, utc_day
from ocs.values.products import (
    DEFAULT_LIMIT_MICRO_EUR,
    LIMIT_COUNTER,
    MONTHLY_LIMIT,
    NO_SHARES,
    CounterTerms,
    LastShares,
    PackageTerms,
)
from ocs.values.top_ups import Channel

REFERENCE_KEEP_S = 400 * DAY_S
"""TTL of a month's references after the last of them (keys.REFERENCE_MONTHS)."""
ATTEMPT_S = 3_600
"""TTL of the note that a top-up is in progress, far longer than one takes. After it the reference is kept as if the
top-up had been applied."""
MAX_ATTEMPTS = 64
"""Top-ups in progress under one reference; with more the reference is kept as if applied."""
ATTEMPT_OCTETS = 8


def when(now: int, month: int, day: int) -> dict[str, Any]:
    return {"now": now, "month": month, "day": day or utc_day(now)}


class Accounts(SubscriberIndex):
    """Part of `RedisLedger`."""

    async def open_account(
        self,
        *,
        msisdn: str,
        imsi: str,
        credit_micro_eur: int,
        package: PackageTerms | None,
        now: int,
        month: int,
        entropy: int,
        day: int = 0,
        unused: bool = False,
        puk: tuple[str, str] = ("", ""),
        limit_micro_eur: int | None = DEFAULT_LIMIT_MICRO_EUR,
    ) -> str:
        account_id = self._keys.new_account_id(msisdn, entropy)
        arguments = {
            "msisdn": msisdn,
            "imsi": imsi,
            "credit": wire.amount("credit", credit_micro_eur),
            "package": wire.package(package) if package else False,
            "counters": [wire.counter_terms(replace(MONTHLY_LIMIT, limit=limit_micro_eur))],
            "own_limit": limit_micro_eur != DEFAULT_LIMIT_MICRO_EUR,
            "unused": unused,
            "customer": wire.customer(puk_salt=puk[0], puk_hash=puk[1]) if puk[1] else "",
            **when(now, month, day),
        }
        claim = await self._claim(by_imsi(imsi), account_id, now)
        try:
            await self._open(account_id, msisdn, arguments)
        except LedgerError:
            await self._release_claim(by_imsi(imsi), claim)
            raise
        if not await self._confirm(by_imsi(imsi), account_id, claim):
            await self.terminate_account(account_id, now=now, month=month)
            raise LedgerError("exists", REFUSALS["exists"])
        return account_id

    async def _open(self, account_id: str, msisdn: str, arguments: dict[str, Any]) -> None:
        subscribers = self._account_keys(account_id).subscribers
        try:
            await self._script("open", account_id, arguments, subscribers)
        except LedgerError as error:
            if error.code != "exists" or not await self._is_left_over(by_msisdn(msisdn), arguments["now"]):
                raise
            await self._script("open", account_id, arguments, subscribers)

    # -- money in

    async def top_up(
        self,
        account_id: str,
        *,
        amount_micro_eur: int,
        reference: str,
        now: int,
        month: int,
        day: int = 0,
        promotional: bool = False,
        channel: Channel = Channel.CARE,
        separate: bool = False,
        saw: Saw | None = None,
    ) -> bool:
        assert channel is not Channel.VOUCHER, "vouchers are redeemed by VoucherLedger"
        if separate and promotional:
            raise LedgerError("range", "a separate account has no promotional credit")
        wire.amount("amount", amount_micro_eur, least=1)
        keys, attempt = self._account_keys(account_id), secrets.token_bytes(ATTEMPT_OCTETS)
        try:
            purpose = _purpose(account_id, amount_micro_eur, promotional=promotional, separate=separate)
            await self._claim_reference(reference, purpose, month, attempt)
        except LedgerError:
            await self._raise_if_moved(account_id)
            raise
        this_month, *before = keys.reference_months(month)
        arguments = {
            "amount": amount_micro_eur,
            "channel": channel.value,
            "reference": reference,
            "uid": uid_of(account_id),
            "promotional": promotional,
            "separate": separate,
            "keep_s": REFERENCE_KEEP_S,
            "asked_at": self._clock(),
            **when(now, month, day),
        }
        try:
            applied = await self._script("top_up", account_id, arguments, this_month, before, saw) == b"ok"
        except LedgerError:
            await self._free_reference(reference, month, attempt)
            raise
        if not applied:
            await self._raise_if_moved(account_id)
        return applied

    async def top_up_of(self, reference: str, *, month: int) -> tuple[str, int] | None:
        partition, name = self._keys.partition_of_name(reference), b"claim:" + reference.encode()
        months = self._keys.by_partition[partition].reference_months(month)
        found = await self._ask("top_up", partition, b"EVAL", _FIND, len(months), *months, name)
        if not found:
            return None
        uid, amount, *other = found.decode().split(" ")
        return ("", 0) if other else (uid, int(amount))

    async def _raise_if_moved(self, account_id: str) -> None:
        document = await self._document(account_id)
        if document and (moved_to := views.moved_to(document)):
            raise MovedError(moved_to)

    # A reference credits one balance of one account by one amount, once, in the whole system (HOT-TOP-1). It may be in
    # another partition than the account, so it is claimed first. Each attempt under a claim is noted. An attempt that
    # the account's script refuses is deleted; with the last one the claim is deleted too. An attempt that was applied,
    # or whose result is unknown, stays, so the claim is kept as long as references are.

    async def _claim_reference(self, reference: str, purpose: str, month: int, attempt: bytes) -> None:
        answer = await self._at_reference(
            _CLAIM, reference, month, attempt, purpose.encode(), REFERENCE_KEEP_S, ATTEMPT_S, MAX_ATTEMPTS
        )
        if answer != purpose.encode():
            raise LedgerError("reference", REFUSALS["reference"])

    async def _free_reference(self, reference: str, month: int, attempt: bytes) -> None:
        with contextlib.suppress(LedgerUnavailable):  # it stays claimed for this account and amount
            await self._at_reference(_FREE, reference, month, attempt)

    async def _at_reference(
        self, script: bytes, reference: str, month: int, attempt: bytes, *more: bytes | int
    ) -> object:
        partition, name = self._keys.partition_of_name(reference), reference.encode()
        keys = self._keys.by_partition[partition]
        all_keys = (keys.attempts + name, *keys.reference_months(month))
        claim = b"claim:" + name
        return await self._ask(
            "top_up", partition, b"EVAL", script, len(all_keys), *all_keys, claim, attempt, *more, durable=True
        )

    # -- settings

    async def set_limit(
        self,
        account_id: str,
        *,
        limit_micro_eur: int | None,
        now: int,
        month: int,
        day: int = 0,
        counter: str = LIMIT_COUNTER,
        terms: CounterTerms | None = None,
        once: bool = False,
    ) -> None:
        value = wire.NO_LIMIT if limit_micro_eur is None else wire.amount("limit", limit_micro_eur)
        more = {"terms": wire.counter_terms(terms) if terms is not None else False, "once": int(once)}
        try:
            await self._change(account_id, "limit", value, when(now, month, day), counter=counter, **more)
        except LedgerError as error:
            if error.code == "counter":
                raise LedgerError("unknown", REFUSALS["counter"]) from None
            raise

    async def set_bars(self, account_id: str, *, bars: Sequence[str], now: int, month: int, day: int = 0) -> None:
        await self._change(account_id, "bars", ",".join(sorted(set(bars))), when(now, month, day))

    async def set_customer(
        self, account_id: str, *, name: CustomerField, value: str, now: int, month: int, day: int = 0
    ) -> None:
        await self._change(account_id, "customer", value, when(now, month, day), kind=name)

    async def set_measure(
        self, account_id: str, *, measure: AccountMeasure, now: int, month: int, day: int = 0
    ) -> None:
        if measure.until and measure.until <= now:
            raise LedgerError("range", f"the measure ends at {measure.until}, which is past")
        await self._change(account_id, "measure", wire.measure(measure), when(now, month, day))

    async def lift_measure(
        self, account_id: str, *, kind: MeasureKind, name: str, now: int, month: int, day: int = 0
    ) -> bool:
        answer = await self._change(account_id, "lift", 0, when(now, month, day), kind=kind.value, ref=name)
        return answer == b"ok"

    async def set_state(
        self, account_id: str, *, state: str, now: int, month: int, day: int = 0, reason: str = ""
    ) -> None:
        if state not in ("active", "blocked"):
            raise LedgerError("range", f"state is {state!r}; it can be set to active or blocked")
        reason = reason or ("care" if state == "blocked" else "")
        await self._change(account_id, "state", views.STATE_CODES[state], when(now, month, day), reason=reason)

    async def remind(
        self, account_id: str, *, at: int, kind: str, ref: str, now: int, month: int, day: int = 0
    ) -> None:
        await self._change(account_id, "remind", wire.amount("at", at), when(now, month, day), kind=kind, ref=ref)

    async def _change(self, account_id: str, what: str, value: object, at: dict[str, Any], **more: object) -> bytes:
        return await self._script(
            "change", account_id, {"what": what, "value": value, "asked_at": self._clock(), **more, **at}
        )

    # -- ends

    async def terminate_account(
        self,
        account_id: str,
        *,
        now: int,
        month: int,
        day: int = 0,
        reason: str = "care",
        pay_out: str = "",
        shares: LastShares = NO_SHARES,
    ) -> int:
        keys = self._account_keys(account_id)
        arguments = {
            "asked_at": self._clock(),
            "reason": reason,
            "reference": pay_out or False,
            "shares": wire.last_shares(shares),
            **when(now, month, day),
        }
        word, msisdn, imsi, unpaid = await self._run_script("terminate", account_id, arguments, keys.subscribers)
        if word.decode() in REFUSALS:
            raise LedgerError(word.decode(), REFUSALS[word.decode()])
        await self._free_names(msisdn.decode(), imsi.decode(), account_id)
        return int(unpaid)

    async def sweep(
        self,
        account_id: str,
        *,
        now: int,
        month: int,
        day: int = 0,
    ) -> None:
        """Run the agenda of an account. An account that does not exist or has moved is no error.

        LedgerError: "unreadable", "version", "clock".
        """
        keys = self._account_keys(account_id)
        try:
            answer = await self._run_script("sweep", account_id, when(now, month, day), keys.subscribers)
        except LedgerError as error:
            if error.code != "moved":
                raise
            return
        word, msisdn, imsi = answer
        if word == b"terminated":
            await self._free_names(msisdn.decode(), imsi.decode(), account_id)
        elif word != b"unknown" and word.decode() in REFUSALS:
            raise LedgerError(word.decode(), REFUSALS[word.decode()])

    async def release_session(
        self, account_id: str, session_id: str, *, reason: str, now: int, month: int, day: int = 0
    ) -> bool:
        arguments = {"session_id": session_id, "reason": reason, **when(now, month, day)}
        return await self._script("give_up", account_id, arguments) == b"ok"

    # -- looking

    async def read(self, account_id: str, *, now: int, month: int, day: int = 0) -> AccountView | None:
        """None = there is no such account, or it has moved. LedgerError: "unreadable", "version"."""
        document = await self._document(account_id)
        return views.account_view(account_id, document, **when(now, month, day)) if document else None

    async def read_pool(self, account_id: str, pool_id: str) -> PoolView | None:
        keys, partition = self._account_keys(account_id), self._keys.partition_of_account(account_id)
        document = await self._ask("read", partition, b"GET", keys.pool + pool_id.encode())
        return views.pool_view(pool_id, document) if document else None


def _purpose(account_id: str, micro_eur: int, *, promotional: bool, separate: bool) -> str:
    """What a top-up's reference is claimed for."""
    where = " promotional" if promotional else " separate" if separate else ""
    return f"{uid_of(account_id)} {micro_eur}{where}"


_CLAIM = b"""
local attempts, claim, attempt, wanted = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local function note()
  redis.call('SADD', attempts, attempt)
  redis.call('EXPIRE', attempts, ARGV[5])
end
for n = 2, #KEYS do
  local purpose = redis.call('HGET', KEYS[n], claim)
  if purpose then
    local others = redis.call('SCARD', attempts)
    if others >= tonumber(ARGV[6]) then
      redis.call('DEL', attempts)
    elseif purpose == wanted and others > 0 then
      note()
    end
    return purpose
  end
end
redis.call('HSET', KEYS[2], claim, wanted)
redis.call('EXPIRE', KEYS[2], ARGV[4])
note()
return wanted"""
_FIND = b"""
for n = 1, #KEYS do
  local purpose = redis.call('HGET', KEYS[n], ARGV[1])
  if purpose then return purpose end
end"""
_FREE = b"""
local attempts, claim, attempt = KEYS[1], ARGV[1], ARGV[2]
if redis.call('SREM', attempts, attempt) == 0 or redis.call('EXISTS', attempts) == 1 then return 0 end
for n = 2, #KEYS do redis.call('HDEL', KEYS[n], claim) end
return 1"""
