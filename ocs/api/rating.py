"""The use that a request asks the price of, and who would pay it."""

from __future__ import annotations

from collections.abc import Mapping

from ocs.accounts import inputs
from ocs.accounts.errors import InputError
from ocs.api.models.catalogue import RateRequest
from ocs.catalogue.model import MatchTable, ServiceTable
from ocs.catalogue.trace import Step
from ocs.catalogue.versions import Catalogues
from ocs.policy.forwarding import EARLY, Diversion, is_late
from ocs.policy.payment import Funds
from ocs.policy.quote import Quote, Use, quote
from ocs.values.quantity import parse_quantity, parse_units
from ocs.values.use import Context, Direction, Unit, Unrateable, UseEvent

DRAFT = "draft"
"""Stands for the file in messages."""
DEFAULT_SERVICE = "voice"


def use_of(body: RateRequest, catalogues: Catalogues) -> Use:
    """InputError: "service", "amount", "time"."""
    in_force = catalogues.in_force()
    services: Mapping[str, ServiceTable] = in_force.tables.of("service", ServiceTable)
    table = services.get(body.service or DEFAULT_SERVICE)
    if table is None:
        raise InputError(
            "service", f"{body.service or DEFAULT_SERVICE!r} is no service; there are {', '.join(services)}"
        )
    line = MatchTable() if table.default or not table.match else table.match[0]
    at = inputs.moment(body.at.isoformat(), catalogues.time_zone) if body.at else catalogues.now()
    event = UseEvent(
        Context(table.contexts[0]),
        body.direction,
        line.rating_group,
        line.service_identifier,
        line.apn,
        body.from_plmn,
        None,
        body.to or None,
        at,
    )
    late = body.direction is Direction.FORWARDED and is_late(Diversion[body.diversion.upper()], EARLY)
    return Use(event, _amount(body.amount, Unit(table.unit), in_force.kilo), late)


def _amount(text: str | None, unit: Unit, kilo: int) -> int:
    if text is None:
        return {Unit.SECONDS: 60, Unit.MESSAGES: 1}.get(unit) or parse_quantity("1 MB", Unit.OCTETS, kilo=kilo)
    try:
        return parse_units(text, unit, kilo=kilo)
    except ValueError as error:
        raise InputError("amount", f"{text!r} must be {error}") from None


def rated(use: Use, catalogues: Catalogues, funds: Funds) -> Quote:
    """What the use costs; what cannot be rated is refused."""
    use.event.facts = funds.facts
    try:
        found = quote(use, catalogues, funds)
    except Unrateable as error:
        found = Quote(refused=f"5031: {error.reason}")
        found.trace.add("refused", "5031", error.reason)
    names = [each.version for each in catalogues.versions]
    found.trace.steps.insert(0, Step("catalogue", f"{len(names)} versions", ", ".join(names), {"versions": names}))
    return found
