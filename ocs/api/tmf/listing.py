"""Queries of TMF630: selection of fields, filters, offset and limit; and answers whose numbers are exact.

TM Forum's forms have money as JSON numbers. They are written digit by digit from whole micro-EUR, never as a binary
float.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import orjson
from fastapi import Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from ocs.api.problems import ProblemError

MAX_LIMIT, DEFAULT_LIMIT = 200, 50
MAX_OFFSET = 100_000
MAX_ROWS = 5_000
"""Rows that a list looks at; with more the filter must be narrower."""
MAX_FILTERS = 16
ALWAYS = ("id", "href", "@type")
"""Fields that are in every answer."""
COUNTED = {
    200: {
        "headers": {
            "X-Total-Count": {"schema": {"type": "integer"}, "description": "Items that match."},
            "X-Result-Count": {"schema": {"type": "integer"}, "description": "Items of this answer."},
        }
    }
}
_OPERATORS = ("gt", "gte", "lt", "lte")
_PLAIN = frozenset({"fields", "offset", "limit"})

Fields = Annotated[
    str, Query(max_length=512, description="First-level attributes to answer, separated by commas; id and href too.")
]
Offset = Annotated[int, Query(ge=0, le=MAX_OFFSET, description="Items to skip.")]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Most items of the answer.")]


def one(row: BaseModel, fields: str = "", status: int = 200) -> Response:
    """The answer with one resource."""
    return _answer(_selected(_plain(row), fields, type(row)), status, {})


def many(request: Request, rows: Sequence[BaseModel], kind: type[BaseModel], **page: Any) -> Response:
    """The answer with the rows that match the query's filters. `page`: `fields`, `offset`, `limit`."""
    filters = filters_of(request, kind)
    found = [plain for plain in map(_plain, rows) if all(_matches(plain, *each) for each in filters)]
    shown = found[page["offset"] : page["offset"] + page["limit"]]
    counts = {"X-Total-Count": str(len(found)), "X-Result-Count": str(len(shown))}
    return _answer([_selected(each, page["fields"], kind) for each in shown], 200, counts)


def filters_of(request: Request, kind: type[BaseModel]) -> list[tuple[tuple[str, ...], str, str]]:
    """(path, operator or "", value) of each filter of the query. ProblemError "invalid": there is no such attribute."""
    found = []
    for name, value in request.query_params.multi_items():
        if name in _PLAIN:
            continue
        path = tuple(name.split("."))
        operator = path[-1] if len(path) > 1 and path[-1] in _OPERATORS else ""
        _check_attribute(path[0], kind)
        found.append((path[: len(path) - bool(operator)], operator, value))
    if len(found) > MAX_FILTERS:
        raise ProblemError("invalid", f"a query has at most {MAX_FILTERS} filters")
    return found


def only(request: Request, name: str) -> str:
    """The value of a filter that must be there. ProblemError "invalid"."""
    values = request.query_params.getlist(name)
    if len(values) != 1:
        raise ProblemError("invalid", f"the query must have one filter {name}: the subscriber's MSISDN")
    return str(values[0])


def check_rows(rows: Sequence[object]) -> None:
    if len(rows) > MAX_ROWS:
        raise ProblemError("invalid", f"more than {MAX_ROWS} items: ask for a shorter time")


def _names(kind: type[BaseModel]) -> set[str]:
    return {field.serialization_alias or name for name, field in kind.model_fields.items()}


def _check_attribute(name: str, kind: type[BaseModel]) -> None:
    if name not in (known := _names(kind)):
        raise ProblemError("invalid", f"{name!r} is no attribute; there are {', '.join(sorted(known))}")


def _plain(row: BaseModel) -> dict[str, Any]:
    return row.model_dump(by_alias=True, exclude_none=True)


def _selected(row: dict[str, Any], fields: str, kind: type[BaseModel]) -> dict[str, Any]:
    if not fields:
        return row
    wanted = [each.strip() for each in fields.split(",")]
    for each in wanted:
        if each != "none":  # TMF630: only id and href
            _check_attribute(each, kind)
    return {name: value for name, value in row.items() if name in ALWAYS or name in wanted}


def _matches(row: Mapping[str, Any], path: Sequence[str], operator: str, value: str) -> bool:
    found = list(_values(row, path))
    if not operator:
        return any(_same(each, text) for each in found for text in value.split(","))
    return any(_compares(each, operator, value) for each in found)


def _values(value: Any, path: Sequence[str]) -> Iterator[Any]:
    """Values at a path; of a list those of each item."""
    if isinstance(value, list):
        for each in value:
            yield from _values(each, path)
    elif not path:
        yield value
    elif isinstance(value, Mapping) and path[0] in value:
        yield from _values(value[path[0]], path[1:])


def _same(value: Any, text: str) -> bool:
    if isinstance(value, bool):
        return text == str(value).lower()
    if isinstance(value, datetime | Decimal | int):
        return bool(value == _like(value, text))
    return str(value) == text


def _compares(value: Any, operator: str, text: str) -> bool:
    if isinstance(value, bool) or not isinstance(value, datetime | Decimal | int):
        raise ProblemError("invalid", f"only times and numbers can be compared by .{operator}")
    other = _like(value, text)
    return bool({"gt": value > other, "gte": value >= other, "lt": value < other, "lte": value <= other}[operator])


def _like(value: Any, text: str) -> Any:
    """The text as what it is compared with. ProblemError "invalid"."""
    try:
        if isinstance(value, datetime):
            at = datetime.fromisoformat(text.replace(" ", "+"))  # a + of the query that was not escaped
            return at if at.tzinfo else at.replace(tzinfo=value.tzinfo)
        number = Decimal(text)
        if number.is_nan():
            raise ValueError(text)
        return number
    except (ValueError, InvalidOperation):
        raise ProblemError("invalid", f"{text!r} cannot be compared with a time or a number") from None


def _answer(body: object, status: int, headers: Mapping[str, str]) -> Response:
    return Response(orjson.dumps(body, default=_exact), status, dict(headers), media_type="application/json")


def _exact(value: object) -> object:
    if isinstance(value, Decimal):
        return orjson.Fragment(f"{value:f}")
    raise TypeError(f"{type(value).__name__} is not answered")
