"""Accounts: open, read, top up."""

from __future__ import annotations

from ocs.accounts import inputs
from ocs.accounts.errors import RefusedError
from ocs.api.call import Call, TheCall
from ocs.api.models.accounts import Account, OpenAccount, ToppedUp, TopUp, account
from ocs.api.models.common import MsisdnPath
from ocs.api.operation_route import router as operations
from ocs.api.rights import Role
from ocs.ledger.contract.views import AccountView
from ocs.values.money import format_eur
from ocs.values.products import PackageTerms
from ocs.values.top_ups import Channel

router = operations("/v1/accounts", "accounts")


@router.post("", operation_id="accounts.open", status_code=201)
async def open_account(body: OpenAccount, call: TheCall) -> Account:
    """Open an account: active, or not yet used (HOT-ACC-2)."""
    credit = inputs.opening_credit(body.credit)
    package = _package(body.package, call) if body.package else None
    try:
        view = await call.backend.accounts.open(
            msisdn=body.msisdn,
            imsi=body.imsi,
            credit_micro_eur=credit,
            package=package,
            unused=body.unused,
            puk=body.puk or "",
        )
    except RefusedError as error:
        if error.code != "exists" or (found := await _opened_before(body, call)) is None:
            raise
        view = found
        call.applied(False)
    call.account_id = view.account_id
    return account(view, call)


def _package(name: str, call: Call) -> PackageTerms:
    catalogue = call.backend.catalogue
    return inputs.package_on_sale(name, catalogue.products, catalogue.now())


async def _opened_before(body: OpenAccount, call: Call) -> AccountView | None:
    """The account, if the same request was begun before and its answer was lost: number and SIM are then together."""
    if not call.repeated:
        return None
    view = (await call.backend.accounts.read(body.msisdn)).view
    return view if view.imsi == body.imsi else None


@router.get("/{msisdn}", operation_id="accounts.read")
async def read_account(msisdn: MsisdnPath, call: TheCall) -> Account:
    """State, credit, package, limits of an account."""
    return account((await call.backend.accounts.read(msisdn)).view, call)


@router.post("/{msisdn}/top-ups", operation_id="accounts.top_up", status_code=201)
async def top_up(msisdn: MsisdnPath, body: TopUp, call: TheCall) -> ToppedUp:
    """Add credit, once (HOT-TOP-1), up to a credit of 200 EUR (HOT-ACC-7). The channel is recorded."""
    amount, reference = inputs.amount(body.amount), call.reference(body.reference)
    usual = Channel.CARE if call.role is Role.CARE else Channel.ONE_OFF
    channel = Channel(body.channel) if body.channel and call.role is Role.CARE else usual
    done = await call.backend.accounts.top_up(
        msisdn,
        amount_micro_eur=amount,
        reference=reference,
        promotional=body.promotional,
        channel=channel,
        separate=body.separate,
    )
    call.applied(done.applied)
    call.after = done.view
    return ToppedUp(reference=reference, amount=format_eur(amount), credit=format_eur(done.credit_micro_eur))
