"""Limits and consents, bars, muted notices; measures of care."""

from __future__ import annotations

from datetime import datetime

from ocs.accounts import inputs
from ocs.accounts.errors import InputError
from ocs.api.call import Call, TheCall
from ocs.api.models import limits as models
from ocs.api.models.common import MsisdnPath
from ocs.api.models.limits import Bars, Lifted, MeasureOut, Muted, SetBars, SetLimit, SetMeasure
from ocs.api.models.subscriptions import Counter, counter
from ocs.api.operation_route import router as operations
from ocs.ledger.contract.views import AccountView
from ocs.values.identities import Msisdn
from ocs.values.measures import AccountMeasure, MeasureKind
from ocs.values.products import LIMIT_COUNTER

router = operations("/v1/accounts/{msisdn}", "limits")
MUTED_BY_SUBSCRIBER = "the subscriber does not want it"
"""Reason of a mute."""


@router.get("/limits/{name}", operation_id="limits.read")
async def read_limit(msisdn: MsisdnPath, name: str, call: TheCall) -> Counter:
    """A counter with its limit. `name`: "limit" is the spending limit (HOT-CC-1); others are those of the catalogue,
    such as the roaming cap (HOT-ROA-5).
    """
    inputs.counter(name, call.backend.catalogue.counters)
    return _counter((await call.backend.accounts.read(msisdn)).view, name, call)


@router.put("/limits/{name}", operation_id="limits.set")
async def set_limit(msisdn: MsisdnPath, name: str, body: SetLimit, call: TheCall) -> Counter:
    """Set a limit, switch it off, or, with `this_window_only`, allow more until its window ends (HOT-CC-1, HOT-ROA-5).
    Running sessions are asked at once.
    """
    terms, in_force = inputs.counter(name, call.backend.catalogue.counters), call.backend.catalogue.in_force()
    unit = None if terms is None else in_force.unit_of_counter(terms.id)
    limit = inputs.counter_limit(body.limit, terms, unit, kilo=in_force.kilo)
    await call.backend.accounts.set_limit(msisdn, micro_eur=limit, counter=terms, once=body.this_window_only)
    return _counter((await call.backend.accounts.read(msisdn)).view, name, call)


def _counter(view: AccountView, name: str, call: Call) -> Counter:
    """Of the account; before it is used for the first time, as the catalogue says."""
    terms = call.backend.catalogue.counters.get(name)
    found = next((each for each in view.counters if each.id == name), None)
    if found is not None:
        return counter(found, terms)
    assert terms is not None and name != LIMIT_COUNTER
    limit = None if terms.limit is None else str(terms.limit)
    return Counter(id=name, window=terms.window.value, value="0", held="0", limit=limit, told_percent=0)


@router.get("/bars", operation_id="bars.read")
async def read_bars(msisdn: MsisdnPath, call: TheCall) -> Bars:
    """What the subscriber has barred (HOT-CC-5)."""
    return Bars(bars=list((await call.backend.accounts.read(msisdn)).view.bars))


@router.put("/bars", operation_id="bars.set")
async def set_bars(msisdn: MsisdnPath, body: SetBars, call: TheCall) -> Bars:
    """Bar what is named, and nothing else (HOT-CC-5)."""
    bars = inputs.bar_names(body.bars)
    await call.backend.accounts.set_bars(msisdn, bars=bars)
    return Bars(bars=sorted(bars))


# -- muted notices


def _muted(view: AccountView) -> Muted:
    return Muted(muted=[each.terms.name for each in view.measures if each.terms.kind is MeasureKind.MUTE])


@router.get("/mutes", operation_id="mutes.list")
async def list_mutes(msisdn: MsisdnPath, call: TheCall) -> Muted:
    """Notices that the subscriber does not want (HOT-ROA-5)."""
    return _muted((await call.backend.accounts.read(msisdn)).view)


@router.put("/mutes/{name}", operation_id="mutes.set")
async def mute(msisdn: MsisdnPath, name: str, call: TheCall) -> Muted:
    """Switch a notice off: a counter or bucket, or one threshold of it, such as roaming-data:80."""
    known, now = call.backend.accounts.measure_names(MeasureKind.MUTE), call.backend.environment.now()
    measure = inputs.measure(MeasureKind.MUTE, name, MUTED_BY_SUBSCRIBER, now, 0, known)
    await call.backend.accounts.set_measure(msisdn, measure=measure)
    return _muted((await call.backend.accounts.read(msisdn)).view)


@router.delete("/mutes/{name}", operation_id="mutes.lift")
async def unmute(msisdn: MsisdnPath, name: str, call: TheCall) -> Muted:
    """Switch a notice on again."""
    await _lift(msisdn, MeasureKind.MUTE, name, call)
    return _muted((await call.backend.accounts.read(msisdn)).view)


# -- measures


@router.get("/measures", operation_id="measures.list")
async def list_measures(msisdn: MsisdnPath, call: TheCall) -> list[MeasureOut]:
    """Measures on the account, planned ones too: facts, bars, mutes, with reason and end."""
    return [models.measure(each, call) for each in (await call.backend.accounts.read(msisdn)).view.measures]


@router.put("/measures/{kind}/{name}", operation_id="measures.set")
async def set_measure(
    msisdn: MsisdnPath, kind: MeasureKind, name: str, body: SetMeasure, call: TheCall
) -> list[MeasureOut]:
    """Put a measure on the account; it replaces one of its kind and name (HOT-ROA-8)."""
    measure = _measure(kind, name, body, call)
    await call.backend.accounts.set_measure(msisdn, measure=measure)
    return await list_measures(msisdn, call)


def _measure(kind: MeasureKind, name: str, body: SetMeasure, call: Call) -> AccountMeasure:
    now = call.backend.environment.now()
    since = _moment(body.since, call) if body.since else now
    until = _moment(body.until, call) if body.until else 0
    if until and until <= now:
        raise InputError("until", f"{body.until} is past")
    return inputs.measure(kind, name, body.reason, since, until, call.backend.accounts.measure_names(kind))


def _moment(at: datetime, call: Call) -> int:
    return inputs.moment(at.isoformat(), call.backend.catalogue.time_zone)


@router.delete("/measures/{kind}/{name}", operation_id="measures.lift")
async def lift_measure(msisdn: MsisdnPath, kind: MeasureKind, name: str, call: TheCall) -> Lifted:
    """End a measure now."""
    return Lifted(lifted=await _lift(msisdn, kind, name, call))


async def _lift(msisdn: Msisdn, kind: MeasureKind, name: str, call: Call) -> bool:
    lifted = await call.backend.accounts.lift_measure(msisdn, kind=kind, name=name)
    if not lifted:  # one of a name that the catalogue no longer has can be lifted too
        inputs.measure_name(kind, name, call.backend.accounts.measure_names(kind))
    return lifted
