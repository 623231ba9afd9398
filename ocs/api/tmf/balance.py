"""TMF654: accounts, buckets and top-ups in its forms.

An id begins with the MSISDN, because rights go by it: `38668100000.credit`, `38668100000.17` (a bucket's instance),
`38668100000.pool.3`; of a top-up the rest is its reference.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from decimal import Decimal

from ocs.accounts import inputs
from ocs.accounts.errors import InputError, UnknownError
from ocs.accounts.operations import AccountAndPool
from ocs.api.call import Call
from ocs.api.tmf.models import AccumulatedBalance, Bucket, Quantity, Reference, TimePeriod, TopupBalance, UsageType
from ocs.history.queries import Transaction
from ocs.ledger.contract.views import AccountView, BucketView
from ocs.values.identities import Msisdn
from ocs.values.money import format_eur
from ocs.values.top_ups import Channel

API = "prepayBalanceManagement/v4"
CREDIT, SEPARATE, POOL = "credit", "separate", "pool"
USAGE_TYPES: dict[str, UsageType] = {"octets": "data", "seconds": "voice", "messages": "sms"}
_STATES = {"active": "active", "terminated": "expired"}
"""Of the credit; any other state suspends it: nothing but incoming and emergency calls goes on."""


def eur(micro_eur: int) -> Quantity:
    return Quantity(amount=Decimal(format_eur(micro_eur)), units="EUR")


def number_of(text: str) -> Reference:
    return Reference(id=text, name="MSISDN", referred_type="LogicalResource")


def account_of(view: AccountView) -> Reference:
    return Reference(id=view.account_id, referred_type="PartyAccount")


def split_id(text: str, what: str) -> tuple[Msisdn, str]:
    """MSISDN and the rest of an id. UnknownError: it is none of ours."""
    number, _, rest = text.partition(".")
    try:
        return inputs.msisdn(number), rest
    except InputError:
        raise UnknownError(what, f"there is no {what} {text}") from None


class Balances:
    """`base`: address of the API, for `href`."""

    def __init__(self, call: Call, base: str) -> None:
        self._call = call
        self._base = f"{base.rstrip('/')}/tmf-api/{API}"

    def href(self, kind: str, id_: str) -> str:
        return f"{self._base}/{kind}/{id_}"

    def bucket_ref(self, id_: str) -> Reference:
        return Reference(id=id_, href=self.href("bucket", id_), referred_type="Bucket")

    # -- buckets

    def buckets(self, seen: AccountAndPool) -> list[Bucket]:
        """Credit first, then units in the order in which they are used."""
        units = sorted(seen.view.buckets, key=_order)
        shared = sorted(seen.pool.buckets, key=_order) if seen.pool else []
        return [
            *self._money(seen.view),
            *(self._units(seen.view, each, is_shared=False) for each in units),
            *(self._units(seen.view, each, is_shared=True) for each in shared),
        ]

    def _money(self, view: AccountView) -> Iterator[Bucket]:
        available = view.credit_micro_eur - view.held_micro_eur
        yield self._credit(view, CREDIT, available, view.held_micro_eur)
        if view.has_separate:
            yield self._credit(view, SEPARATE, view.separate_micro_eur, 0)

    def _credit(self, view: AccountView, name: str, remaining: int, reserved: int) -> Bucket:
        id_ = f"{view.msisdn}.{name}"
        end = self._call.time(view.active_until)
        return Bucket(
            id=id_,
            href=self.href("bucket", id_),
            name=name,
            is_shared=False,
            logical_resource=[number_of(view.msisdn)],
            party_account=account_of(view),
            remaining_value=eur(remaining),
            remaining_value_name=f"{format_eur(remaining)} EUR",
            reserved_value=eur(reserved),
            status=_STATES.get(view.state, "suspended"),  # type: ignore[arg-type]
            usage_type="monetary",
            valid_for=TimePeriod(end=end) if end else None,
        )

    def _units(self, view: AccountView, bucket: BucketView, *, is_shared: bool) -> Bucket:
        id_ = f"{view.msisdn}.{f'{POOL}.' if is_shared else ''}{bucket.instance}"
        products = {each.instance: each.product for each in view.subscriptions}
        product = None if is_shared else products.get(bucket.subscription)
        left = None if bucket.left is None else bucket.left - bucket.held
        return Bucket(
            id=id_,
            href=self.href("bucket", id_),
            name=bucket.id,
            is_shared=is_shared,
            logical_resource=[number_of(view.msisdn)],
            party_account=account_of(view),
            product=[Reference(id=product, name=product, referred_type="Product")] if product else None,
            remaining_value=None if left is None else Quantity(amount=Decimal(left), units=bucket.unit),
            remaining_value_name="unlimited" if left is None else f"{left} {bucket.unit}",
            reserved_value=Quantity(amount=Decimal(bucket.held), units=bucket.unit),
            status="active",
            usage_type=USAGE_TYPES.get(bucket.unit, "other"),
            valid_for=TimePeriod(start=self._call.time(bucket.starts_at), end=self._call.time(bucket.expires_at)),
        )

    def accumulated(self, seen: AccountAndPool) -> list[AccumulatedBalance]:
        """One for each kind of use of which every bucket has an end."""
        by_kind: dict[str, list[Bucket]] = {}
        for bucket in self.buckets(seen):
            by_kind.setdefault(str(bucket.usage_type), []).append(bucket)
        return [
            self._accumulated(seen.view, kind, found)
            for kind, found in by_kind.items()
            if all(each.remaining_value for each in found)
        ]

    def _accumulated(self, view: AccountView, kind: str, found: list[Bucket]) -> AccumulatedBalance:
        id_ = f"{view.msisdn}.{kind}"
        values = [each.remaining_value for each in found if each.remaining_value is not None]
        return AccumulatedBalance(
            id=id_,
            href=self.href("accumulatedBalance", id_),
            name=kind,
            bucket=[self.bucket_ref(each.id) for each in found],
            logical_resource=number_of(view.msisdn),
            party_account=account_of(view),
            total_balance=Quantity(amount=sum((each.amount for each in values), Decimal(0)), units=values[0].units),
        )

    # -- top-ups

    def top_up(self, view: AccountView, found: Transaction) -> TopupBalance:
        """A top-up that was made at some time."""
        at = self._call.time(found.at)
        id_ = top_up_id(view.msisdn, found.reference)
        return TopupBalance(
            id=id_,
            href=self.href("topupBalance", id_),
            amount=eur(found.gross_micro_eur),
            bucket=self.bucket_ref(f"{view.msisdn}.{SEPARATE if found.separate_micro_eur else CREDIT}"),
            channel=Reference(id=found.channel, name=found.channel) if found.channel else None,
            requestor=Reference(id=found.by, name=found.by, role="user", referred_type="User") if found.by else None,
            requested_date=at,
            confirmation_date=at,
            logical_resource=[number_of(view.msisdn)],
            party_account=account_of(view),
            is_auto_topup=found.channel == Channel.AUTOMATIC,
            status="completed",
            usage_type="monetary",
        )


def _order(bucket: BucketView) -> tuple[int, int, int]:
    return bucket.priority, bucket.expires_at, bucket.instance


def top_up_id(msisdn: str, reference: str) -> str:
    return f"{msisdn}.{base64.urlsafe_b64encode(reference.encode()).decode().rstrip('=')}"


def reference_of(text: str) -> str:
    """The reference in the rest of an id; "" = it has none."""
    try:
        found = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
        return found if found.isprintable() else ""
    except (binascii.Error, ValueError):
        return ""
