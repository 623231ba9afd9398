"""`ocs fair-use …`: fair use in the EU (HOT-ROA-2 to -4): volume, days at home and abroad, state, and what is next."""

from __future__ import annotations

from typing import Annotated

import typer

from ocs.accounts import inputs
from ocs.accounts.errors import InputError
from ocs.accounts.fair_use import Evaluation, FairUseOperations, FairUseView, day_text
from ocs.cli.common import DEFAULT, Backend, ConfigOption, JsonOption, counted, print_json, with_backend
from ocs.cli.show import units_text
from ocs.ledger.redis.installation import OpenMode
from ocs.policy.fair_use import Action, Decision, Shares
from ocs.values.identities import MSISDN_EXAMPLE
from ocs.values.presence import Observation
from ocs.values.use import Unit

app = typer.Typer(help="Show fair use in the EU, and what would be decided.", no_args_is_help=True)
STATES = {"": "none", "warned": "warned", "surcharge": "surcharge"}
ACTIONS = {
    Action.NONE: "nothing",
    Action.WARN: "warning",
    Action.SURCHARGE: "surcharge",
    Action.STOP: "end of the warning or surcharge",
}
MAX_SHOWN = 1_000
"""Accounts that `evaluate` lists; all are counted."""
YEAR_S = 365 * 86_400
MAX_AHEAD_S = 100 * YEAR_S

NumberArgument = Annotated[str, typer.Argument(help=f"E.164 digits, such as {MSISDN_EXAMPLE}.")]


def _operations(backend: Backend) -> FairUseOperations:
    return FairUseOperations(backend.ledger, backend.catalogue, backend.environment.now)


@app.command()
def show(msisdn: NumberArgument, json: JsonOption = False, config: ConfigOption = DEFAULT) -> None:
    """Show the volume and its use, the observed days, the state and why."""
    number = inputs.msisdn(msisdn)

    async def work(backend: Backend) -> None:
        found = await _operations(backend).show((await backend.accounts.read(number)).view)
        if json:
            print_json(_view_json(found))
        else:
            _print_view(found, backend.catalogue.units)

    with_backend(config, OpenMode.READ, work)


@app.command()
def evaluate(
    at: Annotated[str, typer.Option(help="2027-01-31: as on that day; without it, as now.")] = "",
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Show what fair use by presence would decide. Nothing is changed: the housekeeper does it each day."""

    async def work(backend: Backend) -> None:
        moment = inputs.moment(at, backend.catalogue.time_zone) if at else backend.environment.now()
        if moment > backend.environment.now() + MAX_AHEAD_S:
            raise InputError("time", f"{at!r} must be within {MAX_AHEAD_S // YEAR_S} years")
        rows: list[dict[str, object]] = []
        observed = steps = 0
        async for each in _operations(backend).foretell(moment):
            observed += 1
            if each.decision.action is Action.NONE:
                continue
            steps += 1
            if len(rows) < MAX_SHOWN:
                rows.append(await _evaluation_json(backend, each))
        if json:
            print_json({"observed": observed, "steps": rows})
            return
        for row in rows:
            print(f"{row['msisdn']}: {row['text']}")
        print(f"{counted(observed, 'account')} observed, {counted(steps, 'step')}")

    with_backend(config, OpenMode.READ, work)


async def _evaluation_json(backend: Backend, each: Evaluation) -> dict[str, object]:
    view = await backend.ledger.read(each.account_id, **backend.when())
    decision = each.decision
    return {
        "msisdn": view.msisdn if view is not None else "",
        "account": each.account_id,
        "action": decision.action.value,
        "text": f"{ACTIONS[decision.action]}; {_shares_text(decision.window)}",
        **_decision_json(decision),
    }


def _view_json(found: FairUseView) -> dict[str, object]:
    volume, observed, decision = found.volume, found.observed, found.decision
    return {
        "msisdn": found.view.msisdn,
        "volume": None if volume is None else {"octets": volume.limit, "used": volume.value},
        "state": observed.state if observed is not None else "",
        "since": day_text(observed.state_day) if observed is not None and observed.state else None,
        "observed_since": day_text(observed.since) if observed is not None else None,
        "decision": _decision_json(decision) if decision is not None else None,
        "days": _days_json(observed) if observed is not None else [],
    }


def _decision_json(decision: Decision) -> dict[str, object]:
    return {
        "next": decision.action.value,
        "why": [each.value for each in decision.why],
        "sims": decision.sims,
        "observed_days": decision.observed_days,
        "deadline": day_text(decision.deadline) if decision.deadline else None,
        "window": _shares_json(decision.window),
        "recent": _shares_json(decision.recent),
    }


def _shares_json(shares: Shares) -> dict[str, object]:
    use = {service: {"home": home, "abroad": abroad} for service, (home, abroad) in sorted(shares.use.items())}
    return {"home_days": shares.home_days, "abroad_days": shares.abroad_days, "percent": shares.percent, "use": use}


def _days_json(observed: Observation) -> list[dict[str, object]]:
    return [
        {
            "day": day_text(number),
            "home": day.at_home,
            "abroad": day.abroad,
            "use": {service: {"home": home, "abroad": abroad} for service, (home, abroad) in sorted(day.use.items())},
        }
        for number, day in sorted(observed.days.items())
    ]


def _print_view(found: FairUseView, units: dict[str, Unit]) -> None:
    volume, observed, decision = found.volume, found.observed, found.decision
    if volume is None or volume.limit is None:
        print("volume in the EU: not limited")
    else:
        left = units_text(max(volume.limit - volume.value, 0), Unit.OCTETS)
        limit, used = units_text(volume.limit, Unit.OCTETS), units_text(volume.value, Unit.OCTETS)
        print(f"volume in the EU: {limit} a period, {used} used, {left} left")
    if observed is None or decision is None:
        print("presence: not observed, as it was not in the EU lately")
        return
    since = f" since {day_text(observed.state_day)}" if observed.state else ""
    print(f"presence: observed since {day_text(observed.since)}, {counted(decision.observed_days, 'whole day')}")
    print(f"state: {STATES[observed.state]}{since}")
    if decision.deadline:
        print(f"the surcharge begins on {day_text(decision.deadline)} unless the pattern changes")
    print(f"window: {_shares_text(decision.window)}")
    for service, (home, abroad) in sorted(decision.window.use.items()):
        unit = units.get(service, Unit.MESSAGES)
        print(f"  {service}: {units_text(home, unit)} at home, {units_text(abroad, unit)} abroad")
    if decision.sims:
        print(f"equipment: {counted(decision.sims, 'SIM')} used abroad in it")
    print(f"last days: {_shares_text(decision.recent)}")
    print(f"today's decision: {ACTIONS[decision.action]}" + (f" ({', '.join(decision.why)})" if decision.why else ""))


def _shares_text(shares: Shares) -> str:
    home, abroad = counted(shares.home_days, "day"), counted(shares.abroad_days, "day")
    return f"{home} at home, {abroad} abroad ({shares.percent} %)"
