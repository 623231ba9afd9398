"""Redeeming vouchers (HOT-TOP-2, HOT-TOP-3).

A voucher is claimed, credited, settled (`ocs.ledger.contract.vouchers`). A claim that a crash left open is finished by
whoever enters the number next, or by `finish_open_claims`, always for the account that claimed it.

A wrong entry is one of 16 digits of which no voucher can be redeemed: its check digit is wrong, there is no such
voucher, or it was never activated, or it is blocked. All of these get the same answer, and count. A voucher that is
spent or has expired is no guess, but a real one: it does not count. What has not 16 digits is not an entry, as nothing
can be learned from it. A right entry does not reset the count; customer care does. From the 20th wrong entry on every
entry is refused alike, also one that was under way meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ocs.accounts.errors import InputError, RefusedError, raising_refused
from ocs.accounts.operations import AccountOperations
from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.limits import MAX_WRONG_VOUCHERS
from ocs.ledger.contract.vouchers import FINAL_REFUSALS, ClaimAnswer, VoucherLedger, VoucherState, VoucherView
from ocs.values.identities import Msisdn
from ocs.values.moment import When, when_of
from ocs.values.voucher_numbers import VoucherNumber, has_check_digit, parse_voucher, voucher_id

UNKNOWN_VOUCHER = "there is no voucher with this number that could be redeemed"
BUSY = "another account is redeeming this voucher now: try again"
MAX_TURNS = 8
"""How often a redemption looks again, because another account's claim was in its way."""
OPEN_CLAIM_S = 10
"""A claim older than this was left by a crash: a redemption takes milliseconds, and Redis's time limit is far less."""
CLAIMS_AT_A_TIME = 100


class Sold(Protocol):
    """The part of the catalogue that the operations need."""

    def when(self, unix_s: int) -> dict[str, int]: ...


@dataclass(frozen=True, slots=True)
class Redeemed:
    applied: bool
    """False = this account had redeemed the voucher before; nothing was changed."""
    value_micro_eur: int
    credit_micro_eur: int
    """Of the separate account, if the voucher is for it."""
    reference: str
    """Of the top-up: batch and serial number."""


@dataclass(frozen=True, slots=True)
class _Finished:
    applied: bool
    refused: LedgerError | None = None
    """The voucher was given back."""


def number(text: str) -> VoucherNumber:
    """InputError "voucher"."""
    try:
        return parse_voucher(text)
    except ValueError as error:
        raise InputError("voucher", str(error)) from None


class RedeemOperations:
    """`now` gives Unix seconds, `entropy` 64 random bits; `key`: that of the operator's file, or None."""

    def __init__(
        self,
        accounts: AccountOperations,
        ledger: VoucherLedger,
        sold: Sold,
        now: Callable[[], int],
        entropy: Callable[[], int],
        key: bytes | None,
    ) -> None:
        self._accounts, self._ledger, self._sold = accounts, ledger, sold
        self._now, self._entropy, self._key = now, entropy, key

    def _when(self) -> When:
        return when_of(self._sold.when(self._now()))

    async def redeem(
        self, msisdn: Msisdn, entered: VoucherNumber, *, entry: str = "", separate: bool = False
    ) -> Redeemed:
        """Top up by a voucher's value; the same account may repeat it. `entry`: id of this entry, so that a wrong one
        counts once though it is repeated; without one each call is an entry. `separate`: into the separate account of
        the number (HOT-GRP-5).

        RefusedError: "voucher" (see above), "expired", "spent", "voucher_blocked", "ceiling" (HOT-ACC-7; the voucher
        stays active), "state", "no_separate", "busy" (another account's claim cannot be finished now).
        """
        view = (await self._accounts.read(msisdn)).view
        with raising_refused():
            key = await self._ledger.voucher_key(self._key)
        account_id, id_ = view.account_id, voucher_id(entered, key)
        if view.vouchers_blocked:
            await self._may_enter(account_id)
        if not has_check_digit(entered):
            raise await self._wrong(account_id, id_, entry)
        for _ in range(MAX_TURNS):
            with raising_refused():
                claim = await self._ledger.claim_voucher(id_, account_id, now=self._now(), separate=separate)
            voucher = claim.voucher
            if voucher is None:
                raise await self._wrong(account_id, id_, entry)
            is_mine = voucher.is_claimed_by(account_id)
            if claim.answer is ClaimAnswer.SPENT and is_mine:
                return await self._redeemed(msisdn, voucher, applied=False)
            if claim.answer is not ClaimAnswer.CLAIMED:
                raise await self._useless(account_id, claim.answer)
            done = await self._finish(voucher, is_mine=is_mine)
            if is_mine and done.refused is None:
                return await self._redeemed(msisdn, voucher, applied=done.applied)
            if is_mine and done.refused is not None and done.refused.code != "given_back":
                raise RefusedError(done.refused.code, str(done.refused)) from done.refused
        raise RefusedError("busy", BUSY)

    async def _redeemed(self, msisdn: Msisdn, voucher: VoucherView, *, applied: bool) -> Redeemed:
        view = (await self._accounts.read(msisdn)).view
        credit = view.separate_micro_eur if voucher.separate else view.credit_micro_eur
        return Redeemed(applied, voucher.value_micro_eur, credit, voucher.reference)

    async def _wrong(self, account_id: str, id_: str, entry: str) -> RefusedError:
        """Count a wrong entry."""
        named = f"{entry} {id_}" if entry else f"{self._entropy():x} {id_}"
        with raising_refused():
            wrong = await self._ledger.wrong_voucher(
                account_id, entry=hashlib.sha256(named.encode()).hexdigest()[:32], **self._when()
            )
        left = MAX_WRONG_VOUCHERS - wrong
        rest = f"{left} more wrong entries block it" if left else "vouchers are blocked until customer care lifts it"
        return RefusedError("voucher", f"{UNKNOWN_VOUCHER}: {rest} (HOT-TOP-3)")

    async def _useless(self, account_id: str, answer: ClaimAnswer) -> RefusedError:
        """The voucher is spent or has expired. It is told only to whom an entry is still allowed."""
        await self._may_enter(account_id)
        if answer is ClaimAnswer.SPENT:
            return RefusedError("spent", "the voucher was redeemed before")
        return RefusedError("expired", "the voucher has expired (HOT-TOP-2)")

    async def _finish(self, voucher: VoucherView, *, is_mine: bool) -> _Finished:
        """Credit and settle a claimed voucher. RefusedError: this cannot be decided now; the claim stays."""
        refused = None
        try:
            applied = await self._ledger.credit_voucher(
                voucher.account_id,
                reference=voucher.reference,
                value_micro_eur=voucher.value_micro_eur,
                separate=voucher.separate,
                **self._when(),
            )
        except LedgerError as error:
            if error.code not in FINAL_REFUSALS:
                if is_mine:
                    raise RefusedError(error.code, str(error)) from error
                raise RefusedError("busy", BUSY) from error
            applied, refused = False, error
        with raising_refused():
            await self._ledger.settle_voucher(voucher, spent=refused is None, now=self._now())
        return _Finished(applied, refused)

    async def _may_enter(self, account_id: str) -> None:
        with raising_refused():
            await self._ledger.may_enter_voucher(account_id, **self._when())

    async def lift_block(self, msisdn: Msisdn) -> bool:
        """Customer care forgives wrong entries (HOT-TOP-3). False = there were none."""
        account_id = await self._accounts.find(msisdn)
        with raising_refused():
            return await self._ledger.lift_voucher_block(account_id, **self._when())

    # -- after a crash

    async def finish_open_claims(self, partition: int) -> tuple[int, int]:
        """Finish claims of the partition that a crash left. Returns how many were finished, and how many cannot be."""
        before, finished, stuck = self._now() - OPEN_CLAIM_S, 0, 0
        while True:
            with raising_refused():
                found = await self._ledger.open_claims(partition, before=before, skip=stuck, count=CLAIMS_AT_A_TIME)
            for each in found:
                if await self._finish_open(each):
                    finished += 1
                else:
                    stuck += 1
            if len(found) < CLAIMS_AT_A_TIME:
                return finished, stuck

    async def _finish_open(self, voucher_id: str) -> bool:
        """False = it cannot be decided now."""
        voucher = await self._ledger.voucher(voucher_id)
        if voucher is None or voucher.state is not VoucherState.CLAIMED:
            return True
        try:
            await self._finish(voucher, is_mine=True)
        except RefusedError:
            return False
        return True
