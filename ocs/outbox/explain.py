"""What a charging record charged and why, from what it says; and where computing it anew gives something else.

A line is recomputed with the version of the catalogue that its price names: the rate from place, direction and party
of the record, billable units (R) from all use of the session so far, the cost (M) from what credit paid. Facts
of the account are those that its earlier records say. Whether the network marked a call as an emergency is concluded
from the rate: no other call has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby, permutations
from typing import Any

from ocs.catalogue.catalogue import Catalogue
from ocs.catalogue.price import billable_units, cost_micro_eur
from ocs.catalogue.reasons import explain_rating
from ocs.catalogue.trace import Trace
from ocs.catalogue.versions import Catalogues
from ocs.outbox.facts import facts_before
from ocs.outbox.masked import masked_detail
from ocs.outbox.reading import unix_s
from ocs.values.identities import is_plmn
from ocs.values.money import format_eur
from ocs.values.products import CounterTerms, Measure
from ocs.values.quantity import quantity_text
from ocs.values.use import Context, Direction, PriceTerms, RatedUse, Unrateable, UseEvent

MAX_PRICES_AT_ONCE = 4
"""Prices of one rate in one record whose order of use is tried out."""
DIFFERENCE = "difference"
REQUESTS = {"I": "opens a session", "U": "update", "T": "ends the session", "E": "one-off"}
ANSWERS = {
    2001: "success",
    4010: "refused, whatever it costs (END_USER_SERVICE_DENIED)",
    4012: "nothing pays any more (CREDIT_LIMIT_REACHED)",
    5002: "the session was not known (UNKNOWN_SESSION_ID)",
    5030: "no account (USER_UNKNOWN)",
    5031: "no price (RATING_FAILED)",
}
"""Result-Codes of RFC 6733 and RFC 8506."""
Line = dict[str, Any]


@dataclass(slots=True)
class _Session:
    """What earlier records of the session have counted, by (service, rate) and by (service, price)."""

    used: dict[tuple[str, str], int] = field(default_factory=dict)
    by_credit: dict[tuple[str, str], int] = field(default_factory=dict)


def explain(
    records: Sequence[dict[str, Any]],
    catalogues: Catalogues,
    *,
    only: str = "",
    history: Sequence[dict[str, Any]] | None = None,
) -> Trace:
    """`records` of one session in their order, or one record. `only`: event id of the record that is told; the others
    are what came before it. "" = all are told. `history`: the account's records that change its facts, in their order;
    None = they are not known, and no rate is judged by facts.
    """
    trace, session = Trace(), _Session()
    for record in records:
        told = not only or record["event_id"] == only
        if told:
            _tell_head(record, trace)
        if record["kind"] in ("charge", "expired"):
            facts = None if history is None else _facts(record, history, catalogues)
            if told and facts is not None:
                trace.add("facts", facts or "none", "of the account, by its records before")
            for rate, lines in groupby(record.get("services", ()), key=lambda line: (line["key"], line["label"])):
                _explain_rate(record, rate, list(lines), session, catalogues, trace if told else Trace(), facts)
        elif told and record["kind"] == "refund":
            _tell_refund(record, trace)
    return trace


def _facts(record: dict[str, Any], history: Sequence[dict[str, Any]], catalogues: Catalogues) -> str:
    began = unix_s(str(record.get("started") or record["time"]))
    return facts_before(history, record, catalogues).at(began)


def _tell_head(record: dict[str, Any], trace: Trace) -> None:
    trace.add("record", record["event_id"], f"{record['kind']} at {record['time']}", account=record["account"])
    if "started" in record:
        trace.add("session", record.get("session_id", ""), f"began at {record['started']}")
    if "request_type" in record:
        trace.add("request", f"{record['request_type']} {record.get('request_number', 0)}", _request_text(record))
    if record["kind"] == "use":
        moved = format_eur(record.get("debit_micro_eur", 0))
        trace.add("debit", f"{moved} EUR", "was taken at this request; the session's charge says what for")
    if "result_code" in record:
        trace.add("answer", record["result_code"], ANSWERS.get(record["result_code"], ""))
    if record["kind"] == "use":
        trace.add("credit afterwards", f"{format_eur(record['credit_micro_eur'])} EUR")
    elif record["kind"] not in ("charge", "expired", "refund"):
        for name, value in record.items():
            if name not in ("event_id", "kind", "time", "account"):
                trace.add(name, value)
    elif "credit_micro_eur" in record:
        trace.add("credit afterwards", f"{format_eur(record['credit_micro_eur'])} EUR")


def _request_text(record: dict[str, Any]) -> str:
    words = [REQUESTS.get(record["request_type"], "")]
    words += ["the session has ended"] if record.get("closed") and record["request_type"] != "E" else []
    words += ["late: it had been given up"] if record.get("late") else []
    return "; ".join(words)


def _tell_refund(record: dict[str, Any], trace: Trace) -> None:
    session = record.get("of_session") or record.get("session_id", "")
    trace.add("refund of", session, "the session of the debit that it gives back")
    for line in record.get("services", ()):
        back = format_eur(line.get("credit_in_micro_eur", 0))
        trace.add("refund", f"{back} EUR", f"of {-line['used']} units at {line['price']}", **_extra(line))
        for bucket, units in line.get("bucket_units", {}).items():
            trace.add("bucket", bucket, f"{-units} units are given back")


def _explain_rate(
    record: dict[str, Any],
    rate: tuple[str, str],
    lines: list[Line],
    session: _Session,
    catalogues: Catalogues,
    trace: Trace,
    facts: str | None,
) -> None:
    """The lines of one service and rate in one record: one for each price. `facts`: None = not known."""
    known = []
    for line in lines:
        version = _version_of(line, catalogues)
        price = None if version is None else version.prices.get(line["price"])
        _tell_rate(record, line, version, price, trace, facts)
        _tell_line(line, trace)
        known.append(price)
    if any(price is None for price in known):
        trace.add("not recomputed", rate[1], "the catalogue does not have the price any more")
        return
    _compare(rate, lines, [price for price in known if price is not None], session, trace)


def _version_of(line: Line, catalogues: Catalogues) -> Catalogue | None:
    name = str(line["price"]).partition("@")[2].partition("/")[2]
    return next((each for each in catalogues.versions if each.version == name), None)


def _tell_rate(
    record: dict[str, Any],
    line: Line,
    version: Catalogue | None,
    price: PriceTerms | None,
    trace: Trace,
    facts: str | None,
) -> None:
    """Why it has this rate: the steps of the rating that gives it, else the difference."""
    detail = masked_detail(str(line.get("detail", "")), str(record.get("context", "")))
    trace.add("line", line["label"], detail, price=line["price"], key=line["key"], **_extra(line))
    if version is None or price is None:
        return
    found = []
    for event, rated in _ratings(record, line, version, facts):
        for leg in (rated, rated.surcharge):
            if leg is not None and leg.label == line["label"]:
                _tell_fitting(version, event, replace(leg, price=price), line, trace)
                return
        found.append(rated.label)
    use = event_of(record, line)
    variant = use is not None and version.rate_of(line["label"]) in _variants(version, use)
    if variant and facts is None:
        trace.add("rate", line["label"], "it holds for accounts with certain facts, or between dates")
        return
    now = f"now the rate is {found[0]}" if found else "now there is no rate for it"
    if variant:
        now = f"the facts of the account, {facts or 'none'}, give the rate {found[0] if found else 'none'}"
    trace.add(DIFFERENCE, line["label"], f"{now}: numbers or places may have been others", rate=found[:1])


def _tell_fitting(version: Catalogue, event: UseEvent, rated: RatedUse, line: Line, trace: Trace) -> None:
    """The steps that lead to the rate, and what it counts."""
    if event.emergency:
        trace.add("emergency", "marked by the network", "no other call has this rate (HOT-RAT-2)")
    explain_rating(version, event, rated, trace)
    buckets = sum(line.get("bucket_units", {}).values())
    for counter in rated.counters:
        moved = _moved(counter, line, buckets, rated, version.kilo)
        trace.add("counter", counter.id, moved, window=counter.window.value, measure=counter.measure.value)


def _moved(counter: CounterTerms, line: Line, bucket_units: int, rated: RatedUse, kilo: int) -> str:
    """What the line moved it by, as far as the record says: the ledger counts units that credit paid by itself."""
    window = f"in its {counter.window.value}"
    if counter.measure is Measure.MONEY:
        return f"moved by {format_eur(line.get('debit_micro_eur', 0))} EUR {window}"
    if counter.measure is Measure.BUCKET_UNITS:
        return f"moved by {quantity_text(bucket_units, rated.unit, kilo=kilo)} {window}"
    which = "that credit paid" if counter.measure is Measure.CREDIT_UNITS else "that were paid"
    return f"moved by the units {which} {window}"


def _variants(version: Catalogue, event: UseEvent) -> tuple[str, ...]:
    try:
        return version.variants_of(event)
    except Unrateable:
        return ()


def _ratings(
    record: dict[str, Any], line: Line, version: Catalogue, facts: str | None
) -> Iterator[tuple[UseEvent, RatedUse]]:
    """Each rate that the use may have had: of a forwarded call those of both legs, early and late; of any use that of
    an emergency last.
    """
    event = event_of(record, line)
    if event is None:
        return
    event.facts = facts or ""
    events = [event]
    if event.direction is Direction.FORWARDED:
        events = [replace(event, at_home=True), event, replace(event, direction=Direction.TERMINATING)]
    for each in (*events, replace(event, emergency=True)):
        try:
            yield each, version.rate(each)
        except Unrateable:
            continue


def is_emergency(catalogues: Catalogues, event: UseEvent, label: str) -> bool:
    """Whether the network must have marked the use as an emergency (HOT-RAT-2): only then it has this rate."""
    return not _is_rated_as(catalogues, event, label) and _is_rated_as(
        catalogues, replace(event, emergency=True), label
    )


def _is_rated_as(catalogues: Catalogues, event: UseEvent, label: str) -> bool:
    try:
        return catalogues.rate(event).label == label
    except Unrateable:
        return False


def event_of(record: dict[str, Any], line: Line) -> UseEvent | None:
    """The use, as far as `detail` says it (`UsageContext.detail`)."""
    parts = str(line.get("detail", "")).split(" ", 2)
    if len(parts) < 2 or parts[1] not in set(Direction):
        return None
    where, direction, towards = (*parts, "")[:3]
    context = Context(record["context"])
    group, _, identifiers = str(line["key"]).partition("#")[0].partition(":")
    identifier = identifiers.partition(",")[0]
    data = context is Context.DATA
    return UseEvent(
        context,
        Direction(direction),
        int(group) if group.isdecimal() else None,
        int(identifier) if identifier.isdecimal() else None,
        towards if data else None,
        where if is_plmn(where) else None,
        None if is_plmn(where) else where or None,
        None if data else towards or None,
        int(datetime.fromisoformat(record.get("started") or record["time"]).timestamp()),
    )


def _tell_line(line: Line, trace: Trace) -> None:
    trace.add("used", line["used"], "raw units since the session's last record")
    for bucket, units in line.get("bucket_units", {}).items():
        trace.add("bucket", bucket, f"paid {units} units", units=units)
    debit = line.get("debit_micro_eur", 0)
    trace.add("credit", f"{format_eur(debit)} EUR", "was debited" if debit else "paid nothing", micro_eur=debit)
    if "net_micro_eur" in line:
        trace.add("VAT", f"{line['vat_percent']} %", f"net {format_eur(line['net_micro_eur'])} EUR")
    if "overrun_units" in line:
        trace.add("overrun", line["overrun_units"], "units that nothing could pay")
    if "dropped" in line:
        trace.add("dropped", line["dropped"], "reported units that cannot have been used: not charged")
    if "itemised" in line:
        trace.add("itemised", line["itemised"], "apart, in statements")


def _compare(
    rate: tuple[str, str], lines: list[Line], prices: list[PriceTerms], session: _Session, trace: Trace
) -> None:
    """Billable units and cost, computed anew. Of several prices at once the record does not say which was used first:
    any order that explains it will do.
    """
    if len(lines) > MAX_PRICES_AT_ONCE:
        trace.add("not recomputed", rate[1], f"the record has more than {MAX_PRICES_AT_ONCE} prices of it")
        return
    charged = sum(line.get("debit_micro_eur", 0) for line in lines)
    computed: list[int] = []
    pairs = list(zip(lines, prices, strict=True))
    for order in permutations(pairs):
        after = _Session(dict(session.used), dict(session.by_credit))
        computed.append(sum(_cost(rate, line, price, after) for line, price in order))
        if computed[-1] == charged:
            break
    session.used, session.by_credit = after.used, after.by_credit
    why = "from the use and the prices of the catalogue"
    if charged in computed:
        trace.add("recomputed", f"{format_eur(charged)} EUR", f"{why}: the same", micro_eur=charged)
    else:
        now, was = format_eur(computed[0]), format_eur(charged)
        trace.add(DIFFERENCE, f"{now} EUR", f"{why}; {was} EUR was debited", micro_eur=computed[0], debited=charged)


def _cost(rate: tuple[str, str], line: Line, price: PriceTerms, session: _Session) -> int:
    """Micro-EUR of the units that neither buckets nor nobody paid."""
    before = session.used.get(rate, 0)
    session.used[rate] = before + line["used"]
    units = billable_units(price, before + line["used"]) - billable_units(price, before)
    units -= sum(line.get("bucket_units", {}).values()) + line.get("overrun_units", 0)
    key = rate[0], price.id
    paid = session.by_credit.get(key, 0)
    session.by_credit[key] = paid + max(units, 0)
    return cost_micro_eur(price, paid + max(units, 0)) - cost_micro_eur(price, paid)


def _extra(line: Line) -> dict[str, Any]:
    return {name: line[name] for name in ("itemised", "vat_percent", "net_micro_eur") if name in line}
