"""Pages of a list: a cursor says where the next one begins. Lists that grow meanwhile skip and repeat nothing."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar

import orjson
from fastapi import Query
from pydantic import BaseModel, Field

from ocs.api.problems import ProblemError

DEFAULT_PAGE, MAX_PAGE = 50, 200
MAX_CURSOR_LENGTH = 512
T = TypeVar("T")
S = TypeVar("S")

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description=f"Most items of a page, up to {MAX_PAGE}.")]
Cursor = Annotated[
    str, Query(max_length=MAX_CURSOR_LENGTH, description="`next` of the page before; without it: the first page.")
]


class Page(BaseModel, Generic[T]):
    """A part of a list."""

    items: list[T]
    next: str | None = Field(description="Cursor of the next page; null = this is the last.")


def encode(position: object) -> str:
    """A cursor. `position`: what JSON can hold; whoever reads a list knows what it means."""
    return base64.urlsafe_b64encode(orjson.dumps(position)).decode().rstrip("=")


def decode(cursor: str) -> object:
    """The position in a cursor; None = there is no cursor. ProblemError "cursor"."""
    if not cursor:
        return None
    try:
        return orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        raise ProblemError("cursor", "the cursor cannot be read") from None


def page_of(
    rows: Sequence[S], *, limit: int, cursor: str, position: Callable[[S], str], item: Callable[[S], T]
) -> Page[T]:
    """A page of `rows` in memory, which are sorted by `position`, a text that only one row has."""
    after = decode(cursor)
    if after is not None and not isinstance(after, str):
        raise ProblemError("cursor", "the cursor is of another list")
    left = [row for row in rows if after is None or position(row) > after]
    shown = left[:limit]
    return Page(items=[item(row) for row in shown], next=encode(position(shown[-1])) if len(left) > limit else None)
