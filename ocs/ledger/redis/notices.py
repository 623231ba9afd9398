"""Notices over Redis Pub/Sub: a script that changes an account publishes which clients should get a RAR or ASR.

A notice that is published while a worker's subscription is down is lost; the grants then end by their Validity-Time. A
channel needs no partition: in a cluster a message reaches the subscribers of every node.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgpack
from redis.exceptions import RedisError

from ocs.ledger.contract.notices import Notice, NoticedSession
from ocs.telemetry.logs import reason_of

log = logging.getLogger(__name__)

CHANNEL = "ocs:notices"
"""As in scripts/sessions.lua (`publish`)."""
RETRY_STEPS_S = (0.05, 0.2, 0.5, 1.0, 2.0)
"""Pauses before the next try to subscribe; the last one repeats."""
LOOK_S = 1.0
"""Longest wait for one message."""


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
    """Notices without end. `client` makes a redis.asyncio client of a node that can be reached; `subscribed` is called
    after each subscription: notices published from then on are received.
    """
    tries = 0
    while True:
        try:
            async with client() as connection, connection.pubsub() as subscription:
                await subscription.subscribe(CHANNEL)
                if tries:
                    log.info("notices of the ledger (top-ups, blocks) are received again")
                tries = 0
                while True:
                    message = await subscription.get_message(timeout=LOOK_S)
                    if message is None:
                        continue
                    if message["type"] == "subscribe":
                        subscribed()
                        continue
                    try:
                        yield decode(message["data"])
                    except ValueError as error:
                        log.warning("a notice of the ledger that this version cannot read is ignored: %s", error)
        except (RedisError, OSError) as error:
            if tries == 0:
                log.warning(
                    "notices of the ledger (top-ups, blocks) are not received, so RAR and ASR are not sent; "
                    "trying again: %s",
                    reason_of(error),
                )
            await asyncio.sleep(RETRY_STEPS_S[min(tries, len(RETRY_STEPS_S) - 1)])
            tries += 1
