"""Notices over Redis Pub/Sub: a script that changes an account publishes which clients should get a RAR or ASR.

A notice that is published while a worker's subscription is down is lost; the grants then end by their Validity-Time. A
channel needs no partition: in a cluster a message reaches the subscribers of every node.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgpack

from ocs.ledger.contract.notices import Notice, NoticedSession
from ocs.ledger.redis.subscription import messages

log = logging.getLogger(__name__)

CHANNEL = "ocs:notices"
"""As in scripts/sessions.lua (`publish`)."""


def encode(notice: Notice) -> bytes:
    sessions = [(s.session_id, s.origin_host, s.origin_realm, s.relay, s.context) for s in notice.sessions]
    packed: bytes = msgpack.packb((notice.kind, notice.reason, notice.at, notice.account_id, sessions))
    return packed


def decode(data: bytes) -> Notice:
    """ValueError: the message is no notice."""
    try:
        kind, reason, at, account_id, sessions = msgpack.unpackb(data)
        return Notice(kind, reason, float(at), account_id, tuple(NoticedSession(*each) for each in sessions))
    except (TypeError, ValueError, msgpack.UnpackException) as error:
        raise ValueError(f"no notice: {type(error).__name__}") from None


async def listen(client: Callable[[], Any], subscribed: Callable[[], None]) -> AsyncIterator[Notice]:
    """Notices without end; `client` and `subscribed` as in `subscription.messages`."""
    async for _, data in messages(client, (CHANNEL,), subscribed=subscribed, lost=_lost, back=_back):
        try:
            yield decode(data)
        except ValueError as error:
            log.warning("a notice of the ledger that this version cannot read is ignored: %s", error)


def _lost(why: str) -> None:
    log.warning(
        "notices of the ledger (top-ups, blocks) are not received, so RAR and ASR are not sent; trying again: %s", why
    )


def _back() -> None:
    log.info("notices of the ledger (top-ups, blocks) are received again")
