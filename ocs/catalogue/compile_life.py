"""Compiles what [catalogue] says of accounts: their credit and their life."""

from __future__ import annotations

from ocs.catalogue.model import General
from ocs.catalogue.problems import Problems
from ocs.values.life import LifeTerms
from ocs.values.moment import DAY_S
from ocs.values.money import parse_eur

PARTS = ("promotional", "refundable")


def compile_life(general: General, problems: Problems) -> LifeTerms:
    """Order of the credit's parts (HOT-ACC-10), mark of low credit (HOT-ACC-8), periods of the life
    (HOT-ACC-3, HOT-ACC-6), announcements."""
    if sorted(general.credit_order) != sorted(PARTS):
        problems.add("catalogue.credit_order", f"must name each of {', '.join(PARTS)} once", str(general.credit_order))
    shortest = min(general.active_days, general.inactive_days)
    if general.expiring_days > shortest:
        problems.add(
            "catalogue.expiring_days", f"must be at most {shortest}, the shorter period", general.expiring_days
        )
    return LifeTerms(
        active_s=general.active_days * DAY_S,
        inactive_s=general.inactive_days * DAY_S,
        expiring_s=general.expiring_days * DAY_S,
        low_credit_micro_eur=parse_eur(general.low_credit_eur),
        promotional_first=general.credit_order[:1] == ["promotional"],
        transfer_promotional=general.transfer_promotional,
    )
