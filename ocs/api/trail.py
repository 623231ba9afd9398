"""Audit trail: who did what, with what was before and after, as an event `api` in the ledger.

A change of an account is noted, successful or refused; for want of rights too, then without the account. So is each
look at a subscriber's data by somebody else than the subscriber.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from enum import Enum

import orjson

from ocs.api.call import Call
from ocs.api.rights import Role
from ocs.ledger.contract.views import AccountView

MAX_SIDE_OCTETS = 4_096
"""Of before, and of after. What is longer is replaced by the names of what changed."""
SKIPPED = frozenset({"sessions", "version", "account_id", "held_micro_eur", "msisdn", "imsi"})
"""What changes while the subscriber uses its phone, and who it is: records name no subscriber."""


def is_noted(call: Call) -> bool:
    return call.operation.changes or (bool(call.account_id) and call.role is not Role.MEMBER)


async def note(call: Call, status: int, before: AccountView | None, after: AccountView | None) -> None:
    """Journal the call."""
    was, became = difference(before, after)
    event: dict[str, object] = {
        "key": call.key.id,
        "role": call.role.value,
        "op": call.name,
        "status": status,
        "request": call.request_id,
        "replayed": int(call.replayed),
        "before": was,
        "after": became,
    }
    now = call.backend.environment.now()
    await call.backend.ledger.note_api_call(call.account_id, now=now, event=event)


def difference(before: AccountView | None, after: AccountView | None) -> tuple[str, str]:
    """JSON of the fields that differ; "" = none does."""
    was, became = _facts(before), _facts(after)
    names = [name for name in {**was, **became} if was.get(name) != became.get(name)]
    return _text({name: was.get(name) for name in names}, names), _text({n: became.get(n) for n in names}, names)


def _text(side: dict[str, object], names: list[str]) -> str:
    if not names:
        return ""
    text = orjson.dumps(side)
    return (text if len(text) <= MAX_SIDE_OCTETS else orjson.dumps({"changed": sorted(names)})).decode()


def _facts(view: AccountView | None) -> dict[str, object]:
    if view is None:
        return {}
    return {each.name: _plain(getattr(view, each.name)) for each in fields(view) if each.name not in SKIPPED}


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value.value if isinstance(value, Enum) else value
