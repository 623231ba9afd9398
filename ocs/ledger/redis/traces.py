"""Traced subscribers in Redis: the list, and what workers publish of them. Implements `TraceLedger`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from typing import Any

import orjson

from ocs.ledger.contract.notices import Notice
from ocs.ledger.contract.traces import MAX_TRACE_S, MAX_TRACED, TRACES, Traced
from ocs.ledger.redis import notices
from ocs.ledger.redis.client import LedgerClient
from ocs.ledger.redis.connection import command as pack_command
from ocs.ledger.redis.keys import uid_of
from ocs.ledger.redis.request import ignore
from ocs.ledger.redis.subscription import messages
from ocs.values.rung import Rung

_BEGIN = b"""
local rows, kept = redis.call('HGETALL', KEYS[1]), 0
for i = 1, #rows, 2 do
  if tonumber(string.match(rows[i + 1], '^%d+')) <= tonumber(ARGV[1]) then
    redis.call('HDEL', KEYS[1], rows[i])
  else
    kept = kept + 1
  end
end
if kept >= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[3], ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[5])
return 1
"""
"""KEYS 1 the list. ARGV 1 now 2 most 3 id of the trace 4 its end, a blank, its facts 5 TTL."""


def channel_of(account_id: str) -> str:
    """The same after the account has moved to another partition."""
    return f"ocs:trace:{uid_of(account_id)}"


class Traces(LedgerClient):
    """Part of `RedisLedger`."""

    def _any_client(self) -> Any:
        """A redis.asyncio client of any node (ledger.py)."""
        raise NotImplementedError

    async def begin_trace(self, traced: Traced, *, now: int) -> bool:
        row = f"{traced.until} ".encode() + orjson.dumps(asdict(traced))
        command = (b"EVAL", _BEGIN, 1, self._keys.traced, now, MAX_TRACED, traced.id, row, MAX_TRACE_S)
        return bool(await self._ask("trace", 0, *command, durable=True))

    async def end_trace(self, trace_id: str) -> None:
        await self._ask("trace", 0, b"HDEL", self._keys.traced, trace_id, durable=True)

    async def traced(self, *, now: int) -> list[Traced]:
        rows = await self._ask("trace", 0, b"HVALS", self._keys.traced)
        found = (Traced(**orjson.loads(row.partition(b" ")[2])) for row in rows)
        return [each for each in found if each.until > now]

    async def announce_traces(self) -> int:
        notice = notices.encode(Notice(TRACES, "", self._clock(), "", ()))
        return int(await self._ask("announce", 0, b"PUBLISH", notices.CHANNEL, notice))

    def publish_rung(self, account_id: str, rung: Rung) -> None:
        command = pack_command((b"PUBLISH", channel_of(account_id), rung.encode()))
        expires = self._loop.time() + self._timeout_s
        self._send(command, ignore, "trace", 0, 0, expires, durable=False)

    async def rungs(
        self, account_id: str, subscribed: Callable[[], None], lost: Callable[[str], None]
    ) -> AsyncIterator[Rung | Notice]:
        own = channel_of(account_id)
        channels = (own, notices.CHANNEL)
        async for channel, data in messages(self._any_client, channels, subscribed=subscribed, lost=lost):
            try:
                found = Rung.decode(data) if channel == own else notices.decode(data)
            except ValueError:
                continue  # of another version
            if isinstance(found, Rung) or uid_of(found.account_id) == uid_of(account_id):
                yield found
