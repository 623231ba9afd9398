"""Subscriptions to channels of Redis: messages without end, over as many connections as it takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from redis.exceptions import RedisError

from ocs.telemetry.logs import reason_of

RETRY_STEPS_S = (0.05, 0.2, 0.5, 1.0, 2.0)
"""Pauses before the next try to subscribe; the last one repeats."""
LOOK_S = 1.0
"""Longest wait for one message."""


async def messages(
    client: Callable[[], Any],
    channels: Sequence[str],
    *,
    subscribed: Callable[[], None],
    lost: Callable[[str], None],
    back: Callable[[], None] = lambda: None,
) -> AsyncIterator[tuple[str, bytes]]:
    """Channel and content of each. `client` makes a redis.asyncio client of a node that can be reached. `subscribed` is
    called after each subscription: what is published from then on is received. `lost` is told the reason of the first
    failure, `back` is called when a subscription succeeds after failures.
    """
    tries = 0
    while True:
        try:
            async with client() as connection, connection.pubsub() as subscription:
                await subscription.subscribe(*channels)
                if tries:
                    back()
                tries, confirmed = 0, 0
                while True:
                    message = await subscription.get_message(timeout=LOOK_S)
                    if message is None:
                        continue
                    if message["type"] != "subscribe":
                        yield message["channel"].decode(), message["data"]
                        continue
                    confirmed += 1
                    if confirmed == len(channels):
                        subscribed()
        except (RedisError, OSError) as error:
            if tries == 0:
                lost(reason_of(error))
            await asyncio.sleep(RETRY_STEPS_S[min(tries, len(RETRY_STEPS_S) - 1)])
            tries += 1
