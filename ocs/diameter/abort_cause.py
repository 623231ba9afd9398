"""Whether the ASRs to a client carry Abort-Cause.

RFC 6733 §8.5.1 and RFC 8506 do not define it in an ASR, so the first ASR has none. Some clients read every ASR by the
rules of Rx (TS 29.214 §5.6.7), where it is required, and answer 5005; others do not support it. After such an answer,
the client's ASRs carry it, or no longer do.
"""

from __future__ import annotations

import logging

from ocs.diameter.outstanding import Answered
from ocs.values.bounded_cache import BoundedCache
from protocol.avp import AvpLengthError, walk
from protocol.dictionary import definition_of

log = logging.getLogger(__name__)

MAX_CLIENTS = 10_000
"""Clients remembered. One that was evicted gets an ASR without Abort-Cause, and objects again."""
BEARER_RELEASED = 0
"""TS 29.214 §5.3.1: the value that suits any end of a session."""
_DEFINITION = definition_of("abort_cause")


def blames_abort_cause(answer: Answered) -> bool:
    """Whether Error-Message or Failed-AVP names Abort-Cause: it was missing, or not supported."""
    if "abort-cause" in (answer.error_message or "").lower():
        return True
    try:
        found = list(walk(answer.failed_avp, 0, len(answer.failed_avp)))
    except AvpLengthError:
        return False
    return any(each.code == _DEFINITION.code and each.vendor in (0, _DEFINITION.vendor) for each in found)


class AbortCauses:
    """Abort-Cause by client; one object per worker."""

    def __init__(self) -> None:
        self._required: BoundedCache[str, bool] = BoundedCache(MAX_CLIENTS)

    def of(self, client: str) -> int | None:
        """Abort-Cause of the client's next ASR; None = the ASR carries none."""
        return BEARER_RELEASED if self._required.get(client.lower()) else None

    def objected(self, client: str, sent: int | None) -> None:
        """The client has objected to an ASR with this Abort-Cause; None = to one without."""
        required = sent is None
        if self._required.get(client.lower(), False) is not required:
            self._required.put(client.lower(), required)
            text = "requires Abort-Cause in an ASR" if required else "does not accept Abort-Cause in an ASR"
            log.warning("client %s: its answer says that it %s; later ASRs follow that", client, text)
