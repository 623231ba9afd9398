"""Which lines of a charging record count a use, and which are paid for a use that another line counts."""

from __future__ import annotations

from collections.abc import Callable

from ocs.catalogue.compile_rates import SURCHARGE
from ocs.catalogue.model import RateTable
from ocs.catalogue.versions import Catalogues
from ocs.values.use import Direction

IsSecond = Callable[[str, str], bool]
"""By label and direction of a line."""


def second_legs(catalogues: Catalogues) -> IsSecond:
    """Whether a line is a surcharge (HOT-ROA-4), or the incoming leg of a call that was forwarded late (HOT-RAT-7)."""
    tables = [version.tables.of("rate", RateTable) for version in catalogues.versions]
    rates = {label for table in tables for label in table}
    incoming = {
        label for table in tables for label, rate in table.items() if rate.directions == [Direction.TERMINATING]
    }

    def is_second(label: str, direction: str) -> bool:
        if label not in rates and label.endswith(SURCHARGE):
            return True
        return direction == Direction.FORWARDED and label in incoming

    return is_second


def direction_of(detail: str) -> str:
    """Of a line's `detail` (`UsageContext.detail`)."""
    return detail.partition(" ")[2].partition(" ")[0]
