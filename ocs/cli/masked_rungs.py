"""Rungs as people see them who have no reason to see a whole number: other parties, and the subscriber's own numbers in
Session-Ids, without their last three digits (HOT-REC-1).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ocs.outbox.masked import masked_detail
from ocs.values.masking import masked_party
from ocs.values.rung import Rung

_PARTS = 3
"""Of a Session-Id before the optional value: identity, high and low 32 bits (RFC 6733 §8.8)."""
_NUMBER = re.compile(r"[0-9]{5,}")


def masked_rung(rung: Rung, numbers: Sequence[str] = ()) -> Rung:
    """`numbers`: the subscriber's own."""
    services = tuple(replace(each, detail=masked_detail(each.detail, rung.context)) for each in rung.services)
    return replace(rung, services=services, session_id=masked_session(rung.session_id, numbers))


def masked_session(session_id: str, numbers: Sequence[str]) -> str:
    """What clients put behind the three parts that every Session-Id has may be a number; so may any part be the
    subscriber's.
    """
    parts = session_id.split(";")
    head, rest = ";".join(parts[:_PARTS]), parts[_PARTS:]
    for number in filter(None, numbers):
        head = head.replace(number, masked_party(number))
    return ";".join([head, *(_NUMBER.sub(lambda found: masked_party(found[0]), part) for part in rest)])
