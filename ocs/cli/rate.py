"""`ocs rate`: what a use costs, who would pay, and why. Nothing is charged."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ocs.accounts import inputs
from ocs.catalogue.model import MatchTable, ServiceTable
from ocs.catalogue.ported_numbers import read_ported_numbers
from ocs.catalogue.trace import Step, Trace
from ocs.catalogue.versions import Catalogues, load_versions
from ocs.cli.common import (
    DEFAULT,
    Backend,
    ConfigOption,
    FailedError,
    JsonOption,
    WrongCallError,
    counted,
    load_all,
    print_json,
    with_backend,
)
from ocs.cli.show import PIPED_COLUMNS
from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.redis.installation import OpenMode
from ocs.policy.forwarding import EARLY, Diversion, is_late
from ocs.policy.payment import Funds, funds_of, funds_of_products
from ocs.policy.quote import Quote, Use, quote
from ocs.values.identities import Msisdn, is_plmn
from ocs.values.quantity import parse_quantity, parse_units
from ocs.values.use import Context, Direction, Unit, Unrateable, UseEvent

SERVICE_OF_UNIT = {Unit.SECONDS: "voice", Unit.OCTETS: "data", Unit.MESSAGES: "sms"}
"""Service, if none is named."""
LEDGER = "of server.catalogue, and those loaded into the ledger"
FILES = "of server.catalogue; no ledger was reached"


def rate(
    msisdn: Annotated[str, typer.Option(help="Account that would pay, as it stands now.")] = "",
    product: Annotated[list[str] | None, typer.Option(help="Without an account: products that it has.")] = None,
    to: Annotated[str, typer.Option(help="Called or addressed party; of incoming use the other party.")] = "",
    duration: Annotated[str, typer.Option(help="Seconds, or a quantity such as '2 min'.")] = "",
    octets: Annotated[str, typer.Option(help="Octets, or a quantity such as '5 MB' or 5MB.")] = "",
    messages: Annotated[int, typer.Option(min=0, max=1_000_000, help="Messages.")] = 0,
    service: Annotated[str, typer.Option(help="Service of the catalogue; default: voice, data or sms.")] = "",
    at: Annotated[str, typer.Option(help="Local time of the operator, such as 2026-12-25T23:58; default: now.")] = "",
    from_plmn: Annotated[str, typer.Option(help="Serving network, MCC and MNC; default: that of the catalogue.")] = "",
    direction: Annotated[str, typer.Option(help="mo (outgoing), mt (incoming) or fw (forwarded).")] = "",
    forwarded_from: Annotated[str, typer.Option(help="The caller, of a call that the subscriber forwards.")] = "",
    diversion: Annotated[
        str, typer.Option(help=f"How it was forwarded: {', '.join(d.name.lower() for d in Diversion)}.")
    ] = "cfu",
    catalogue: Annotated[
        Path | None, typer.Option(help="Catalogue to rate with: a file, or a folder of versions.")
    ] = None,
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Show what a use costs, who would pay, and why, step by step. Nothing is charged."""
    if msisdn and product:
        raise WrongCallError("--product is for a price without an account: leave out --msisdn or --product")
    asked = _Asked(to, duration, octets, messages, service, at, from_plmn, direction, forwarded_from, diversion)
    settings, known = load_all(config)
    request = _Request(asked, tuple(product or ()), settings.server.ported_numbers, json=json)
    draft = None if catalogue is None else load_versions(catalogue)
    if msisdn:
        number = inputs.msisdn(msisdn)

        async def for_account(backend: Backend) -> None:
            used = Catalogues(draft, known.now) if draft else backend.catalogue
            await request.for_account(backend, number, used, str(catalogue) if draft else LEDGER)

        with_backend(config, OpenMode.READ, for_account, loaded=(settings, known))
    elif draft:
        request.for_products(Catalogues(draft, known.now), str(catalogue))
    else:

        async def with_ledger(backend: Backend) -> None:
            request.for_products(backend.catalogue, LEDGER)

        try:
            with_backend(config, OpenMode.READ, with_ledger, loaded=(settings, known))
        except (FailedError, LedgerError):
            request.for_products(known, FILES)


@dataclass(frozen=True, slots=True)
class _Request:
    """What is to be rated and how it is shown. `versions_of` says where the versions of the catalogue are from."""

    asked: _Asked
    products: tuple[str, ...]
    ported_numbers: str
    json: bool

    async def for_account(self, backend: Backend, number: Msisdn, used: Catalogues, versions_of: str) -> None:
        seen = await backend.accounts.read(number)
        now = used.now()
        self._show(used, funds_of(seen.view, seen.pool, used.in_force().terms, now), now, versions_of)

    def for_products(self, used: Catalogues, versions_of: str) -> None:
        """For an account that has the products."""
        now = used.now()
        terms = [inputs.package(name, used.in_force().terms) for name in self.products]
        self._show(used, funds_of_products(terms, now), now, versions_of)

    def _show(self, used: Catalogues, funds: Funds, now: int, versions_of: str) -> None:
        if self.ported_numbers:
            used.use_ported(read_ported_numbers(Path(self.ported_numbers)))
        use = self.asked.use(used, now)
        use.event.facts = funds.facts
        try:
            result = quote(use, used, funds)
        except Unrateable as error:
            result = Quote(Trace(), f"5031: {error.reason}")
            result.trace.add("refused", "5031", error.reason)
        names = [each.version for each in used.versions]
        result.trace.steps.insert(
            0, Step("catalogue", counted(len(names), "version"), versions_of, {"versions": names})
        )
        _print(use, result, json=self.json)


class _Asked:
    """The options of a use."""

    def __init__(
        self,
        to: str,
        duration: str,
        octets: str,
        messages: int,
        service: str,
        at: str,
        from_plmn: str,
        direction: str,
        forwarded_from: str,
        diversion: str,
    ) -> None:
        self.to, self.service, self.at, self.from_plmn = to, service, at, from_plmn
        amounts = {Unit.SECONDS: duration, Unit.OCTETS: octets, Unit.MESSAGES: str(messages or "")}
        given = {unit: text for unit, text in amounts.items() if text}
        if len(given) > 1:
            raise WrongCallError("state one of --duration, --octets and --messages")
        self.given = given
        self.direction = _direction(direction or ("fw" if forwarded_from else "mo"))
        self.late = self.direction is Direction.FORWARDED and is_late(_diversion(diversion), EARLY)

    def use(self, catalogues: Catalogues, now: int) -> Use:
        in_force = catalogues.in_force()
        at = now if not self.at else _unix_s(self.at, catalogues)
        services = in_force.tables.of("service", ServiceTable)
        name = self.service or SERVICE_OF_UNIT[next(iter(self.given), Unit.SECONDS)]
        table = services.get(name)
        if table is None:
            raise WrongCallError(f"--service {name!r} is no service; the catalogue has {', '.join(services)}")
        amount = self._amount(Unit(table.unit), name, in_force.tables.general.kilo if in_force.tables.general else 1024)
        line = MatchTable() if table.default or not table.match else table.match[0]
        if self.from_plmn and not is_plmn(self.from_plmn):
            raise WrongCallError(f"--from-plmn {self.from_plmn!r} must be 5 or 6 digits of MCC and MNC, such as 22003")
        event = UseEvent(
            Context(table.contexts[0]),
            self.direction,
            line.rating_group,
            line.service_identifier,
            line.apn,
            self.from_plmn or None,
            None,
            self.to or None,
            at,
        )
        return Use(event, amount, self.late)

    def _amount(self, unit: Unit, service: str, kilo: int) -> int:
        if any(each is not unit for each in self.given):
            raise WrongCallError(f"service {service} is charged in {unit.value}")
        text = self.given.get(unit)
        if text is None:
            return {Unit.SECONDS: 60, Unit.MESSAGES: 1}.get(unit) or parse_quantity("1 MB", Unit.OCTETS, kilo=kilo)
        try:
            return parse_units(text, unit, kilo=kilo)
        except ValueError as error:
            raise WrongCallError(f"{text!r} must be {error}") from None


def _direction(text: str) -> Direction:
    try:
        return Direction(text)
    except ValueError:
        raise WrongCallError(f"--direction {text!r} must be one of {', '.join(Direction)}") from None


def _diversion(text: str) -> Diversion:
    found = Diversion.__members__.get(text.upper())
    if found is None:
        raise WrongCallError(f"--diversion {text!r} must be one of {', '.join(d.name.lower() for d in Diversion)}")
    return found


def _unix_s(text: str, catalogues: Catalogues) -> int:
    """Of a local time of the operator; one with an offset is taken as it is. Of one that occurs twice, the first."""
    try:
        local = datetime.fromisoformat(text)
    except ValueError:
        raise WrongCallError(f"--at {text!r} must be a local time such as 2026-12-25T23:58") from None
    zone = catalogues.versions[0].time_zone
    return int((local if local.tzinfo else local.replace(tzinfo=zone)).timestamp())


# -- printing


def _print(use: Use, result: Quote, *, json: bool) -> None:
    if json:
        print_json(_as_json(use, result))
        return
    print_trace(result.trace)


def print_trace(trace: Trace) -> None:
    """One line a step."""
    console = Console(width=None if sys.stdout.isatty() else PIPED_COLUMNS, soft_wrap=True, highlight=False)
    console.print(_table(trace))


def _table(trace: Trace) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    for column in ("step", "value", "why"):
        table.add_column(column, overflow="fold")
    for step in trace.steps:
        table.add_row(step.name, step.value, step.why)
    return table


def _as_json(use: Use, result: Quote) -> Mapping[str, object]:
    """The names are stable: programs rely on them."""
    return {
        "direction": use.event.direction.value,
        "wanted": use.amount,
        "granted": result.amount,
        "refused": result.refused or None,
        "micro_eur": result.micro_eur,
        "fees_micro_eur": result.fees_micro_eur,
        "bucket_units": result.units,
        "steps": [step.as_json() for step in result.trace.steps],
    }
