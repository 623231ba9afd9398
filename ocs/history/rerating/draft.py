"""What a session would have cost under a draft of the catalogue, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ocs.catalogue.reasons import explain_rating
from ocs.catalogue.trace import Trace
from ocs.catalogue.versions import Catalogues
from ocs.history.rerating.shadow import Paid, ShadowAccount
from ocs.history.rerating.uses import Use, started_at, uses_of
from ocs.outbox.explain import is_emergency
from ocs.outbox.facts import facts_before
from ocs.outbox.legs import second_legs
from ocs.outbox.reading import Record, unix_s
from ocs.values.money import format_eur
from ocs.values.quantity import quantity_text
from ocs.values.use import Unrateable

MODEL = "units of buckets pay what they paid, where the draft lets them; limits and credit end nothing"


def compare_with_draft(
    records: Sequence[Record],
    in_force: Catalogues,
    draft: Catalogues,
    *,
    only: str = "",
    history: Sequence[Record] | None = None,
) -> Trace:
    """`records`, `only` and `history`: as in `explain`. The steps are of the draft."""
    trace, shadow = Trace(), ShadowAccount(draft)
    is_second, was, now = second_legs(in_force), 0, 0
    names = ", ".join(each.version for each in draft.versions)
    trace.add("draft", names, MODEL)
    for record in records:
        if record["kind"] not in ("charge", "expired"):
            continue
        told = not only or record["event_id"] == only
        shadow.facts = facts_before(history or (), record, draft)
        session = str(record.get("session_id", record["event_id"]))
        for use in uses_of(record, is_second):
            if isinstance(use, int):
                trace.add("not re-rated", f"{format_eur(use)} EUR", "the record does not say what was used")
                continue
            use.event.at = started_at(record)
            use.event.emergency = is_emergency(in_force, use.event, use.label)
            try:
                paid = shadow.use(use, session, unix_s(record["time"]))
            except Unrateable as error:
                trace.add("not re-rated", use.label, f"the draft has no rate: {error.reason}")
                continue
            if told:
                was, now = was + use.charged, now + paid.micro_eur
                _tell(use, paid, draft, shadow.facts.at(use.event.at), trace)
        shadow.recorded(session, unix_s(record["time"]), closed=bool(record.get("closed")))
    change = f"{format_eur(abs(now - was))} EUR {'more' if now > was else 'less'}" if now != was else "the same"
    trace.add("draft sum", f"{format_eur(now)} EUR", f"{format_eur(was)} EUR was debited: {change}", micro_eur=now)
    return trace


def _tell(use: Use, paid: Paid, draft: Catalogues, facts: str, trace: Trace) -> None:
    version = draft.at(use.event.at)
    leg = paid.legs[0]
    explain_rating(version, replace(use.event, facts=facts), leg, trace)
    for other in paid.legs[1:]:
        trace.add("besides", other.label, "is paid for the same use")
    for bucket, units in paid.bucket_units.items():
        trace.add("bucket", bucket, f"pays {quantity_text(units, leg.unit, kilo=version.kilo)}", units=units)
    trace.add(
        "draft credit",
        f"{format_eur(paid.micro_eur)} EUR",
        f"for {quantity_text(use.used, leg.unit, kilo=version.kilo)}; {format_eur(use.charged)} EUR was debited",
        micro_eur=paid.micro_eur,
        debited=use.charged,
    )
