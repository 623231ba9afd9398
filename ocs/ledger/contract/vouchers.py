"""Vouchers in the ledger: their records, and the operations on them as a Protocol.

A voucher is known by its id, a keyed hash of its number; the number itself is nowhere in the ledger. It lies in the
partition of its id, an account in another. So it is redeemed in three steps, each atomic and safe to repeat:

1. `claim_voucher`: it is active, and becomes claimed by one account. Each claim of a voucher has a number.
2. `credit_voucher`: the account takes the value, or refuses it. Either is stored under the claim's number, in the step
   that decides, and never changes: a late repetition of a refused claim credits nothing.
3. `settle_voucher`: it becomes spent, or active again, if that claim is still open.

After a crash anybody may go on from step 2, for the account that claimed it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class VoucherState(StrEnum):
    GENERATED = "generated"
    """Printed, not sold: it cannot be redeemed."""
    ACTIVE = "active"
    CLAIMED = "claimed"
    """An account is being credited with it."""
    SPENT = "spent"
    BLOCKED = "blocked"


class ClaimAnswer(StrEnum):
    """What `claim_voucher` found."""

    UNKNOWN = "unknown"
    """There is none, it was never activated, or it is blocked: the caller cannot tell which."""
    EXPIRED = "expired"
    CLAIMED = "claimed"
    """By `VoucherView.account_id`, now or before."""
    SPENT = "spent"


FINAL_REFUSALS = frozenset({"ceiling", "state", "voucher_blocked", "no_separate", "given_back", "unknown"})
"""Codes by which an account refuses a voucher for good: the credit would be too high (HOT-ACC-7), it is terminated, it
has entered too many wrong numbers (HOT-TOP-3), it has no separate account (HOT-GRP-5), it has refused this claim
before, it exists no more."""


@dataclass(frozen=True, slots=True)
class VoucherView:
    voucher_id: str
    batch: str
    serial: int
    """Within the batch, from 1."""
    state: VoucherState
    value_micro_eur: int
    expires_at: int
    """Unix seconds; 0 = never."""
    changed_at: int
    """Unix seconds of the last change of state."""
    account_id: str = ""
    """Account that has claimed it last."""
    claim: int = 0
    """Number of its last claim."""
    separate: bool = False
    """That claim is for the separate account of the number (HOT-GRP-5)."""

    def has_expired(self, now: int) -> bool:
        """Not redeemed in time (HOT-TOP-2)."""
        unused = self.state in (VoucherState.GENERATED, VoucherState.ACTIVE)
        return unused and 0 < self.expires_at <= now

    def is_claimed_by(self, account_id: str) -> bool:
        """Whether its last claim is of this account, under whichever of its ids."""
        return bool(self.account_id) and self.account_id.partition("-")[2] == account_id.partition("-")[2]

    @property
    def reference(self) -> str:
        """Of the top-up by its present claim (HOT-TOP-1)."""
        repeated = f".{self.claim}" if self.claim > 1 else ""
        return f"{self.batch}/{self.serial}{repeated}"


@dataclass(frozen=True, slots=True)
class Claim:
    answer: ClaimAnswer
    voucher: VoucherView | None
    """None if the answer is UNKNOWN."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Vouchers made together."""

    id: str
    count: int
    value_micro_eur: int
    expires_at: int
    made_at: int
    made_by: str
    complete: bool = False
    """False = its numbers were never handed out: making them was interrupted."""
    actions: tuple[str, ...] = ()
    """What was done to it, the newest last, at most MAX_BATCH_ACTIONS."""


@dataclass(frozen=True, slots=True)
class BatchView:
    batch: Batch
    counts: dict[VoucherState, int] = field(default_factory=dict)
    """Vouchers by state."""


@dataclass(frozen=True, slots=True)
class NewVoucher:
    voucher_id: str
    serial: int


class VoucherLedger(Protocol):
    """`month` and `day` are those of `now`."""

    @property
    def partitions(self) -> int: ...

    async def voucher_key(self, from_file: bytes | None) -> bytes:
        """Key of the ids: made once for the installation, or `from_file`, the octets of the operator's file.

        LedgerError "voucher_key": the ids were made by another key.
        """

    async def create_batch(self, batch: Batch) -> bool:
        """False = there is one of this id."""

    async def replace_batch(self, old: Batch, new: Batch) -> bool:
        """False = it is not `old` any more."""

    async def voucher_batch(self, batch_id: str) -> Batch | None: ...

    async def batches(self) -> list[BatchView]: ...

    async def delete_batch(self, batch: Batch) -> None:
        """Delete a batch that is not complete, with its vouchers."""

    def partition_of_voucher(self, voucher_id: str) -> int: ...

    async def add_vouchers(self, batch: Batch, vouchers: Sequence[NewVoucher], *, now: int) -> list[NewVoucher]:
        """Store vouchers of one partition as generated. Returns those whose id is taken. It may be repeated."""

    async def voucher(self, voucher_id: str) -> VoucherView | None: ...

    async def voucher_ids(self, batch: str, partition: int) -> list[NewVoucher]:
        """Vouchers of a batch in one partition."""

    async def voucher_of_serial(self, batch: str, serial: int, partition: int) -> VoucherView | None:
        """The voucher with this serial number, if it lies in this partition."""

    async def set_voucher_state(
        self, vouchers: Sequence[str], *, batch: str, state: VoucherState, now: int
    ) -> tuple[int, int]:
        """Activate or block vouchers of one partition. Returns how many were changed, and how many have been redeemed
        or are being redeemed and stay as they are.
        """

    async def claim_voucher(self, voucher_id: str, account_id: str, *, now: int, separate: bool = False) -> Claim: ...

    async def credit_voucher(
        self,
        account_id: str,
        *,
        reference: str,
        value_micro_eur: int,
        now: int,
        month: int,
        day: int = 0,
        separate: bool = False,
    ) -> bool:
        """Step 2. False = this claim was credited before. The account may have moved. LedgerError in FINAL_REFUSALS:
        it is given back.
        """

    async def settle_voucher(self, voucher: VoucherView, *, spent: bool, now: int) -> None: ...

    async def open_claims(self, partition: int, *, before: int, skip: int = 0, count: int) -> list[str]:
        """Vouchers of the partition that were claimed before this Unix second and are not settled."""

    async def wrong_voucher(self, account_id: str, *, entry: str, now: int, month: int, day: int = 0) -> int:
        """Count a wrong entry, once per `entry`; returns how many there are (HOT-TOP-3). LedgerError
        "voucher_blocked", "state", "unknown".
        """

    async def may_enter_voucher(self, account_id: str, *, now: int, month: int, day: int = 0) -> None:
        """LedgerError: as `wrong_voucher`."""

    async def lift_voucher_block(self, account_id: str, *, now: int, month: int, day: int = 0) -> bool:
        """Customer care forgives wrong entries. False = there were none."""
