"""`ocs session …`, `ocs audit` and `ocs decode`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ocs.accounts import inputs
from ocs.accounts.sessions import SessionAction
from ocs.cli.common import (
    DEFAULT,
    Backend,
    ConfigOption,
    FailedError,
    JsonOption,
    WrongCallError,
    accounts_text,
    counted,
    print_json,
    with_backend,
)
from ocs.cli.show import print_sessions, session_rows
from ocs.ledger.audit import AuditReport, audit
from ocs.ledger.redis.installation import OpenMode
from ocs.values.identities import MSISDN_EXAMPLE
from ocs.values.money import format_eur
from protocol.errors import DiameterError

MAX_HEX_CHARACTERS = 4 * 65_536
"""Enough for a message of the largest size that the server accepts, with separators."""
MAX_SHOWN_VIOLATIONS = 20

sessions = typer.Typer(help="List, re-authorize and abort open sessions.", no_args_is_help=True)


@sessions.callback()
def _sessions() -> None:
    """List, re-authorize and abort open credit-control sessions."""


@sessions.command("list")
def list_sessions(
    limit: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Rows at most; to find them all accounts may be read.")
    ] = 100,
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """List open sessions, one row for each reservation."""

    async def work(backend: Backend) -> None:
        rows: list[dict[str, object]] = []
        async for view in backend.views():
            rows += [{"msisdn": view.msisdn, **row} for session in view.live_sessions for row in session_rows(session)]
            if len(rows) > limit:
                break
        if json:
            print_json(rows[:limit])
        elif not rows:
            print("there are no open sessions")
        else:
            print_sessions(rows[:limit])
        if len(rows) > limit:
            print(f"these are the first {limit}: --limit shows more", file=sys.stderr)
        for line in backend.unread:
            print(line, file=sys.stderr)
        if backend.unread:
            raise FailedError(
                f"{counted(len(backend.unread), 'account')} could not be read: `ocs audit` names what is wrong"
            )

    with_backend(config, OpenMode.READ, work)


SubscriberArgument = Annotated[str, typer.Argument(help=f"E.164 digits, such as {MSISDN_EXAMPLE}.", metavar="MSISDN")]
SessionOption = Annotated[str, typer.Option("--session", help="A Session-Id; without it, all of the subscriber's.")]


@sessions.command()
def reauthorize(msisdn: SubscriberArgument, session: SessionOption = "", config: ConfigOption = DEFAULT) -> None:
    """Re-authorize a subscriber's sessions: the network reports use and asks for new quota (RAR)."""
    _announce("reauthorize", msisdn, session, config)


@sessions.command()
def abort(msisdn: SubscriberArgument, session: SessionOption = "", config: ConfigOption = DEFAULT) -> None:
    """Abort a subscriber's sessions (ASR); their use is still charged. An emergency call is aborted only with
    --session.
    """
    _announce("abort", msisdn, session, config)


def _announce(action: SessionAction, msisdn: str, session_id: str, config: Path) -> None:
    number = inputs.msisdn(msisdn)

    async def work(backend: Backend) -> None:
        selection = await backend.sessions.select(number, action, session_id)
        _print_exempt(selection.exempt)
        if not selection.sessions:
            raise FailedError(f"{number} has no other open session")
        await backend.sessions.announce(action, selection)
        print(f"{number}: {counted(len(selection.sessions), 'session')} announced; a worker sends the requests")

    with_backend(config, OpenMode.WRITE, work)


def _print_exempt(exempt: int) -> None:
    if exempt:
        text = f"{counted(exempt, 'session')} not aborted: an emergency call, or a service that is always granted"
        print(f"{text}; --session ID aborts one", file=sys.stderr)


def audit_command(json: JsonOption = False, config: ConfigOption = DEFAULT) -> None:
    """Check the invariants of the whole ledger. Exit status 1: an account breaks one."""

    async def work(backend: Backend) -> None:
        report = await audit(backend.ledger, **backend.when())
        if json:
            print_json(audit_json(report))
        else:
            _print_audit(report)
        if not report.ok:
            raise typer.Exit(1)

    with_backend(config, OpenMode.READ, work)


def audit_json(report: AuditReport) -> dict[str, object]:
    """`audit --json`. The names are stable: programs rely on them."""
    return {
        "ok": report.ok,
        "accounts": report.accounts,
        "terminated": report.terminated,
        "unreadable": report.unreadable,
        "open_sessions": report.open_sessions,
        "violations": [asdict(violation) for violation in report.violations],
        "transfers": report.transfers,
        "totals": {**report.totals, "credit_micro_eur": report.credit_micro_eur},
    }


def _group_money(report: AuditReport) -> str:
    """Separate accounts and transfers, if there are any."""
    parts = (("separate", report.separate_micro_eur), ("in transit", report.in_transit_micro_eur))
    return "".join(f" + {name} {format_eur(amount)}" for name, amount in parts if amount)


def _print_audit(report: AuditReport) -> None:
    accounts = accounts_text(report.accounts, report.terminated, report.unreadable)
    print(f"{accounts}, {counted(report.open_sessions, 'open session')}")
    print(
        f"paid in {format_eur(report.paid_in_micro_eur)} EUR = "
        f"available {format_eur(report.credit_micro_eur - report.held_micro_eur)} + held "
        f"{format_eur(report.held_micro_eur)} "
        f"+ spent {format_eur(report.spent_micro_eur)} + refunded {format_eur(report.refunded_micro_eur)} "
        f"+ expired {format_eur(report.expired_micro_eur)}{_group_money(report)}"
    )
    for violation in report.violations[:MAX_SHOWN_VIOLATIONS]:
        print(f"account {violation.account} breaks invariant {violation.invariant}: {violation.detail}")
    if len(report.violations) > MAX_SHOWN_VIOLATIONS:
        print(f"… and {len(report.violations) - MAX_SHOWN_VIOLATIONS} more (--json has all)")
    if not report.ok:
        print(f"invariants are broken: {counted(len(report.violations), 'violation')}")
    elif report.looked_at:
        print("the books are right")
    else:
        print("there are no accounts in this ledger: nothing was audited")


def decode(
    hex_text: Annotated[
        str, typer.Argument(metavar="HEX", help="A Diameter message in hex digits; - reads it from standard input.")
    ],
) -> None:
    """Show a Diameter message in readable form."""
    from protocol.pretty import render

    text = sys.stdin.read(MAX_HEX_CHARACTERS + 1) if hex_text == "-" else hex_text
    if len(text) > MAX_HEX_CHARACTERS:
        raise WrongCallError(f"more than {MAX_HEX_CHARACTERS} characters")
    try:
        frame = bytes.fromhex("".join(text.replace(":", " ").replace("0x", " ").split()))
    except ValueError:
        raise WrongCallError(
            "HEX must be pairs of the digits 0-9 and a-f; blanks and colons may separate them"
        ) from None
    try:
        print(render(frame))
    except (ValueError, DiameterError) as error:
        raise FailedError(f"this is no Diameter message: {error}") from None
