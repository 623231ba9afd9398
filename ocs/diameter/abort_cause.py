"""Whether a client's ASR carries Abort-Cause.

Neither RFC 6733 §8.5.1 nor RFC 8506 has it there: ours begin without. Some clients read every ASR by the rules of Rx
(TS 29.214 §5.6.7), where it is required, and answer 5005; others do not know it. What a client objects to is left out,
or put in, from then on.
"""

from __future__ import annotations

import logging

from ocs.diameter.outstanding import Answered
from ocs.values.bounded_cache import BoundedCache
from protocol.avp import AvpLengthLie, walk
from protocol.dictionary import definition_of

log = logging.getLogger(__name__)

MAX_CLIENTS = 10_000
"""Clients whose objection is remembered; one that is forgotten is asked the usual way, and objects again."""
BEARER_RELEASED = 0
"""TS 29.214 §5.3.1: the value that fits any end."""
_DEFINITION = definition_of("abort_cause")


def blamed(answer: Answered) -> bool:
    """Whether an answer says that the Abort-Cause of its request, or the want of it, is what was wrong."""
    if "abort-cause" in (answer.error_message or "").lower():
        return True
    try:
        found = list(walk(answer.failed_avp, 0, len(answer.failed_avp)))
    except AvpLengthLie:
        return False
    return any(each.code == _DEFINITION.code and each.vendor in (0, _DEFINITION.vendor) for each in found)


class AbortCauses:
    """One per worker."""

    def __init__(self) -> None:
        self._wanted: BoundedCache[str, bool] = BoundedCache(MAX_CLIENTS)

    def of(self, client: str) -> int | None:
        return BEARER_RELEASED if self._wanted.get(client.lower()) else None

    def objected(self, client: str, sent: int | None) -> None:
        """It was not content with an ASR that carried this."""
        wanted = sent is None
        if self._wanted.get(client.lower(), False) is not wanted:
            self._wanted.put(client.lower(), wanted)
            change = "wants Abort-Cause in an ASR" if wanted else "does not take Abort-Cause in an ASR"
            log.warning("client %s: it %s, as its answer says, and gets it so from now on", client, change)
