"""What a subscriber sets: limits, bars, mutes; and what care puts on it: measures."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ocs.api.call import Call
from ocs.api.models.common import Answer, Body, Time
from ocs.ledger.contract.views import MeasureView
from ocs.values.measures import MAX_REASON_LENGTH
from ocs.values.use import BARS

MAX_NAME = 64
LimitText = Annotated[
    str,
    Field(
        pattern=r"^[0-9A-Za-z. ]{1,32}$",
        description='EUR of a counter of money, else units or a quantity such as 5 GB; "off" = no limit.',
        examples=["100.00"],
    ),
]


class SetLimit(Body):
    """A limit of a counter."""

    limit: LimitText
    this_window_only: bool = Field(
        default=False, description="Only until the counter's window ends, such as more roaming data this month."
    )


class SetBars(Body):
    """What is barred from now on, in place of what was barred before (HOT-CC-5)."""

    bars: list[str] = Field(max_length=len(BARS), description=f"Of {', '.join(BARS)}; [] = nothing.")


class Bars(Answer):
    """What the subscriber has barred."""

    bars: list[str]


class MeasureOut(Answer):
    """A measure on an account (HOT-ROA-8)."""

    kind: str
    name: str
    reason: str
    since: Time | None
    until: Time | None = Field(description="null = until it is lifted.")
    begun: bool


class SetMeasure(Body):
    """A measure of care."""

    reason: str = Field(min_length=1, max_length=MAX_REASON_LENGTH, description="Why: it stands in the record.")
    since: Time | None = Field(default=None, description="null = now. Without an offset: the operator's time zone.")
    until: Time | None = Field(default=None, description="null = until it is lifted.")


class Lifted(Answer):
    """Whether there was something to end."""

    lifted: bool


class Muted(Answer):
    """Notices that the subscriber does not want."""

    muted: list[str]


def measure(each: MeasureView, call: Call) -> MeasureOut:
    terms = each.terms
    return MeasureOut(
        kind=terms.kind.value,
        name=terms.name,
        reason=terms.reason,
        since=call.time(terms.since),
        until=call.time(terms.until),
        begun=each.begun,
    )
