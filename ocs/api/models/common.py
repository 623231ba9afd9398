"""Types that bodies share: money, times, numbers of subscribers."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Any, get_args

from fastapi import Path
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ocs.accounts.inputs import MAX_REFERENCE_LENGTH
from ocs.values.identities import IMSI_EXAMPLE, MAX_IMSI_DIGITS, MAX_MSISDN_DIGITS, MSISDN_EXAMPLE, Imsi, Msisdn

MSISDN_PATTERN = rf"^[1-9][0-9]{{4,{MAX_MSISDN_DIGITS - 1}}}$"
IMSI_PATTERN = rf"^[0-9]{{6,{MAX_IMSI_DIGITS}}}$"
AMOUNT_PATTERN = r"^[0-9]{1,10}(\.[0-9]{1,6})?$"
REFERENCE_PATTERN = rf"^[!-~]([ -~]{{0,{MAX_REFERENCE_LENGTH - 2}}}[!-~])?$"

MsisdnPath = Annotated[
    Msisdn, Path(pattern=MSISDN_PATTERN, description="MSISDN: E.164 digits without +.", examples=[MSISDN_EXAMPLE])
]
MsisdnField = Annotated[Msisdn, Field(pattern=MSISDN_PATTERN, examples=[MSISDN_EXAMPLE])]
ImsiField = Annotated[Imsi, Field(pattern=IMSI_PATTERN, examples=[IMSI_EXAMPLE])]
Eur = Annotated[str, Field(description="EUR, a decimal number.", examples=["12.50"])]
"""Money in an answer."""
Amount = Annotated[str, Field(pattern=AMOUNT_PATTERN, description="EUR, up to 6 decimals.", examples=["12.50"])]
"""Money in a request."""


def _iso_text(value: object) -> object:
    """A number, or a text of one, would be taken as Unix seconds, which nobody means."""
    if isinstance(value, int | float) or (isinstance(value, str) and not re.match(ISO_BEGINS, value)):
        raise ValueError("must be ISO 8601, such as 2026-11-30T20:15:00+01:00, or 2026-11-30 of a day")
    return value


ISO_BEGINS = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
Time = Annotated[
    datetime,
    BeforeValidator(_iso_text),
    Field(description="ISO 8601 with offset.", examples=["2026-11-30T20:15:00+01:00"]),
]
Day = Annotated[date, BeforeValidator(_iso_text)]
ReferenceField = Annotated[
    str | None,
    Field(
        pattern=REFERENCE_PATTERN,
        description="The client's own id of the operation, which is never done twice. Without it, the Idempotency-Key.",
        examples=["SHOP-2026-000123"],
    ),
]


class Body(BaseModel):
    """A request. A field that is not known is a mistake: what was meant would not be done. So is 0 for false, or "5"
    for 5.
    """

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _of_their_type(cls, data: Any) -> Any:
        for name, field in cls.model_fields.items() if isinstance(data, dict) else ():
            kinds = {field.annotation, *get_args(field.annotation)}
            value = data.get(name)
            if bool in kinds and value is not None and not isinstance(value, bool):
                raise ValueError(f"{name} must be true or false")
            if int in kinds and str not in kinds and isinstance(value, bool | str):
                raise ValueError(f"{name} must be a whole number")
        return data


class Answer(BaseModel):
    """An answer."""

    model_config = ConfigDict(extra="forbid")


class Mistake(BaseModel):
    """One mistake of a request."""

    where: str = Field(examples=["body.amount"])
    detail: str


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(description="Address of the kind of problem.", examples=["/problems/ceiling"])
    title: str
    status: int
    detail: str = Field(description="What happened, in words.")
    code: str = Field(description="The kind, for programs.", examples=["ceiling"])
    action: str = Field(description="What to do.")
    request_id: str
    errors: list[Mistake] = Field(default_factory=list, description="Each mistake of a request.")
