"""Peers and audit: what runs, and whether the books are right."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from ocs.api.call import TheCall
from ocs.api.models.common import MsisdnPath
from ocs.api.models.network import AccountAudit, LastAudit, Peer, Violation
from ocs.api.operation_route import router as operations
from ocs.api.pages import Cursor, Limit, Page, page_of
from ocs.ledger.audit import violations
from ocs.telemetry.export import Snapshots
from ocs.telemetry.metrics import Store
from ocs.values.money import format_eur

router = operations("/v1", "operations")


# -- peers


@router.get("/peers", operation_id="peers.list")
async def list_peers(call: TheCall, limit: Limit = 50, cursor: Cursor = "") -> Page[Peer]:
    """Diameter peers: those of the settings, and unknown ones that are connected. Their connections are those of this
    server's workers, as counted half a second ago.
    """
    connected = _gauges(await _metrics(call), "ocs_peer_connections")
    known = {each.origin_host.lower(): each for each in call.container.settings.peer}
    peers = []
    for name in sorted({*known, *map(str.lower, connected)}):
        section, count = known.get(name), int(sum(n for host, n in connected.items() if host.lower() == name))
        peers.append(
            Peer(
                origin_host=section.origin_host if section else name,
                realm=section.realm if section else None,
                kind=section.kind if section else None,
                connections=count,
                state="open" if count else "down",
            )
        )
    return page_of(
        peers, limit=limit, cursor=cursor, position=lambda each: each.origin_host.lower(), item=lambda each: each
    )


async def _metrics(call: TheCall) -> Store:
    """Sum of what the processes of this server have published."""
    folder = call.container.settings.data_dir / "metrics"
    return await asyncio.to_thread(Snapshots(folder, Store()).total)


def _gauges(store: Store, name: str) -> Mapping[str, float]:
    """By the only label."""
    return {key[1]: value for key, value in store.gauges.items() if key[0] == name and len(key) == 2}


# -- audit


@router.get("/audit", operation_id="audit.last")
async def last_audit(call: TheCall) -> LastAudit:
    """The last full pass over all accounts. It runs continuously, where the housekeeper runs."""
    gauges = (await _metrics(call)).gauges

    def value(name: str) -> int:
        return int(gauges.get((name,), 0))

    return LastAudit(
        passed_at=call.time(value("ocs_audit_passed_timestamp_seconds")),
        accounts=value("ocs_accounts"),
        open_sessions=value("ocs_sessions_open"),
        violations=value("ocs_audit_violations"),
        drift=format_eur(value("ocs_audit_drift_eur")),
    )


@router.get("/accounts/{msisdn}/audit", operation_id="audit.account")
async def audit_account(msisdn: MsisdnPath, call: TheCall) -> AccountAudit:
    """Check the invariants of one account now: money in = money left + spent + refunded + expired, and so on."""
    view = (await call.backend.accounts.read(msisdn)).view
    found = [
        Violation(account=each.account, invariant=str(each.invariant), detail=each.detail) for each in violations(view)
    ]
    return AccountAudit(
        ok=not found,
        paid_in=format_eur(view.paid_in_micro_eur),
        credit=format_eur(view.credit_micro_eur),
        held=format_eur(view.held_micro_eur),
        spent=format_eur(view.spent_micro_eur),
        refunded=format_eur(view.refunded_micro_eur),
        expired=format_eur(view.expired_micro_eur),
        violations=found,
    )
