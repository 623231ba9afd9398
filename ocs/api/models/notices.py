"""Notices: what a subscriber was told, language; receipts of the gateway."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ocs.api.call import Call
from ocs.api.models.common import Answer, Body, Time
from ocs.notices.states import State
from ocs.values.language import LANGUAGES

NOTICE_ID = r"^p[0-9.]+-[0-9]+\.[A-Za-z0-9._-]{1,48}$"
LanguageField = Annotated[str, Field(pattern=f"^({'|'.join(LANGUAGES)})$", examples=["sl"])]


class Notice(Answer):
    """A text for a subscriber, and what became of it (HOT-NOT-1)."""

    id: str = Field(examples=["p47-1234.low-credit"])
    name: str = Field(description="Its name in the catalogue.", examples=["low-credit"])
    msisdn: str = Field(description='The number when it was made; "" = the account had ended.')
    language: str
    text: str
    state: State
    reason: str = Field(description='Why it is not sent, or the last answer of the gateway; "" = none.')
    attempts: int
    reference: str = Field(description='The gateway\'s name of the message; "" = none.')
    created: Time
    next_attempt: Time | None = Field(description="Of one that waits.")
    expires: Time


class Language(Answer):
    """Of the texts that the subscriber gets."""

    language: str = Field(description='ISO 639-1; "" = that of the operator.', examples=["sl"])


class SetLanguage(Body):
    language: LanguageField


class Receipt(Body):
    """What became of a message."""

    id: str = Field(pattern=NOTICE_ID, examples=["p47-1234.low-credit"])
    state: Literal["delivered", "failed"]
    reason: str = Field(default="", max_length=200)


def notice(row: Any, call: Call) -> Notice:
    waits = row.state == State.WAITING
    created, expires = call.time(row.created), call.time(row.expires_at)
    assert created is not None and expires is not None
    return Notice(
        id=row.id,
        name=row.name,
        msisdn=row.msisdn,
        language=row.language,
        text=row.text,
        state=State(row.state),
        reason=row.reason,
        attempts=row.attempts,
        reference=row.reference,
        created=created,
        next_attempt=call.time(row.next_at) if waits else None,
        expires=expires,
    )
