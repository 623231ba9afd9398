"""`ocs session list`, `ocs audit`, `ocs decode`."""

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
    ConfigOption,
    FailedError,
    JsonOption,
    Office,
    WrongCallError,
    accounts_text,
    counted,
    print_json,
    with_office,
)
from ocs.cli.show import print_sessions, session_rows
from ocs.ledger.audit import AuditReport, audit
from ocs.ledger.redis.installation import Use
from ocs.values.identities import MSISDN_EXAMPLE
from ocs.values.money import format_eur
from protocol.errors import DiameterError

MAX_HEX_CHARACTERS = 4 * 65_536
"""A message of the largest size the server takes, with separators."""
MAX_SHOWN_VIOLATIONS = 20

sessions = typer.Typer(help="Look at open sessions.", no_args_is_help=True)


@sessions.callback()
def _sessions() -> None:
    """Look at open credit-control sessions, have the network ask anew or end them."""


@sessions.command("list")
def list_sessions(
    limit: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Rows at most; all accounts may be looked at.")
    ] = 100,
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Open sessions, one row a reservation."""

    async def work(office: Office) -> None:
        rows: list[dict[str, object]] = []
        async for view in office.views():
            rows += [{"msisdn": view.msisdn, **row} for session in view.live_sessions for row in session_rows(session)]
            if len(rows) >= limit:
                break
        if json:
            print_json(rows[:limit])
        elif not rows:
            print("there are no open sessions")
        else:
            print_sessions(rows[:limit])
            if len(rows) >= limit:
                print(f"the first {limit}; more with --limit", file=sys.stderr)
        for line in office.unread:
            print(line, file=sys.stderr)
        if office.unread:
            raise FailedError(
                f"{counted(len(office.unread), 'account')} could not be read: `ocs audit` names what is wrong"
            )

    with_office(config, Use.LOOK, work)


SubscriberArgument = Annotated[str, typer.Argument(help=f"E.164 digits, such as {MSISDN_EXAMPLE}.", metavar="MSISDN")]
SessionOption = Annotated[str, typer.Option("--session", help="One Session-Id; without it all of the subscriber's.")]


@sessions.command()
def reauthorize(msisdn: SubscriberArgument, session: SessionOption = "", config: ConfigOption = DEFAULT) -> None:
    """Have the network ask anew for a subscriber's sessions (RAR)."""
    _announce("reauthorize", msisdn, session, config)


@sessions.command()
def abort(msisdn: SubscriberArgument, session: SessionOption = "", config: ConfigOption = DEFAULT) -> None:
    """Have the network end a subscriber's sessions (ASR); what was used is still settled. Emergency calls go on without
    --session.
    """
    _announce("abort", msisdn, session, config)


def _announce(action: SessionAction, msisdn: str, session_id: str, config: Path) -> None:
    number = inputs.msisdn(msisdn)

    async def work(office: Office) -> None:
        selection = await office.sessions.select(number, action, session_id)
        _print_exempt(selection.exempt)
        if not selection.sessions:
            raise FailedError(f"{number} has no other open session")
        await office.sessions.announce(action, selection)
        print(f"{number}: {counted(len(selection.sessions), 'session')} told; the network answers in its own time")

    with_office(config, Use.CHANGE, work)


def _print_exempt(exempt: int) -> None:
    what = "emergency call or what else is always free"
    if exempt == 1:
        print(f"1 session has an {what}, and goes on; --session ID ends it", file=sys.stderr)
    elif exempt:
        whats = what.replace("call", "calls")
        print(f"{exempt} sessions have {whats}, and go on; --session ID ends one", file=sys.stderr)


def audit_command(json: JsonOption = False, config: ConfigOption = DEFAULT) -> None:
    """Check the invariants over the whole ledger; exit status 1 when an account breaks one."""

    async def work(office: Office) -> None:
        report = await audit(office.ledger, **office.when())
        if json:
            print_json(audit_json(report))
        else:
            _print_audit(report)
        if not report.ok:
            raise typer.Exit(1)

    with_office(config, Use.LOOK, work)


def audit_json(report: AuditReport) -> dict[str, object]:
    """`audit --json`: other programs rely on these names."""
    return {
        "ok": report.ok,
        "accounts": report.accounts,
        "terminated": report.terminated,
        "unreadable": report.unreadable,
        "open_sessions": report.open_sessions,
        "violations": [asdict(violation) for violation in report.violations],
        "totals": {
            "paid_in_micro_eur": report.paid_in_micro_eur,
            "available_micro_eur": report.credit_micro_eur - report.held_micro_eur,
            "credit_micro_eur": report.credit_micro_eur,
            "held_micro_eur": report.held_micro_eur,
            "spent_micro_eur": report.spent_micro_eur,
            "refunded_micro_eur": report.refunded_micro_eur,
            "expired_micro_eur": report.expired_micro_eur,
        },
    }


def _print_audit(report: AuditReport) -> None:
    accounts = accounts_text(report.accounts, report.terminated, report.unreadable)
    print(f"{accounts}, {counted(report.open_sessions, 'open session')}")
    print(
        f"paid in {format_eur(report.paid_in_micro_eur)} EUR = "
        f"available {format_eur(report.credit_micro_eur - report.held_micro_eur)} + held "
        f"{format_eur(report.held_micro_eur)} "
        f"+ spent {format_eur(report.spent_micro_eur)} + refunded {format_eur(report.refunded_micro_eur)} "
        f"+ expired {format_eur(report.expired_micro_eur)}"
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
        str, typer.Argument(metavar="HEX", help="A Diameter message in hex digits, or - to read them.")
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
            "HEX must be pairs of the digits 0-9 and a-f; blanks and colons may stand between"
        ) from None
    try:
        print(render(frame))
    except (ValueError, DiameterError) as error:
        raise FailedError(f"this is no Diameter message: {error}") from None
