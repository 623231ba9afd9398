"""Audit trail: who did what, with what was before and after, as an event `api` in the ledger.

A change of an account is noted, successful or refused; for want of rights too, then without the account. So is each
look at a subscriber's data by somebody else than the subscriber.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import fields

import orjson

from ocs.api.call import Call
from ocs.api.rights import Role
from ocs.ledger.contract.views import AccountView

MAX_SIDE_OCTETS = 4_096
"""Of before, and of after. What is longer is replaced by the names of what changed."""
SKIPPED = frozenset({"sessions", "version", "account_id", "held_micro_eur", "msisdn", "imsi", "earlier_ids"})
"""What changes while the subscriber uses its phone, and who it is: records name no subscriber."""

NOTED = tuple(each.name for each in fields(AccountView) if each.name not in SKIPPED)


def is_noted(call: Call) -> bool:
    return call.operation.changes or (bool(call.account_id) and call.role is not Role.MEMBER)


def note(call: Call, status: int, before: AccountView | None, after: AccountView | None) -> Awaitable[None]:
    """Journal the call. It is sent at once, with what else is sent before it is awaited."""
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
    return call.backend.ledger.note_api_call(call.account_id, now=now, event=event)


def difference(before: AccountView | None, after: AccountView | None) -> tuple[str, str]:
    """JSON of the fields that differ; "" = none does."""
    if before is after:
        return "", ""
    names = [name for name in NOTED if before is None or after is None or getattr(before, name) != getattr(after, name)]
    return _text(before, names), _text(after, names)


def _text(view: AccountView | None, names: list[str]) -> str:
    if not names:
        return ""
    text = orjson.dumps({name: getattr(view, name, None) for name in names})
    return (text if len(text) <= MAX_SIDE_OCTETS else orjson.dumps({"changed": sorted(names)})).decode()
