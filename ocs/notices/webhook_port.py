"""The port "webhook": POST of a JSON object to an SMS gateway.

    POST …                             Idempotency-Key: p47-1234.low-credit
    {"id": "p47-1234.low-credit", "to": "38668100000", "text": "…", "language": "sl", "notice": "low-credit",
     "expires": "2026-11-23T16:30:00Z"}

2xx: taken; a field "id" of the answer is kept as the receiver's name of the message. 408, 425, 429, 5xx, no answer: it
is sent again, not before Retry-After says. Other answers: it is refused, and not sent again. The gateway must show a
message once by its key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
import orjson

from ocs.notices.port import Answer, Message, Taken
from ocs.notices.signature import HEADER, sign
from ocs.values.moment import utc_text

MAX_ANSWER_OCTETS = 64 * 1024
MAX_AFTER_S = 3_600.0
"""A longer Retry-After counts as this."""
_LATER = frozenset({408, 425, 429})


class WebhookPort:
    """`now`: Unix seconds. Redirects are refused: the secret is for one address."""

    def __init__(self, url: str, secret: str, *, timeout_s: float, connections: int, now: Callable[[], int]) -> None:
        self._url, self._secret, self._now = url, secret, now
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def send(self, message: Message) -> Answer:
        body = orjson.dumps(
            {
                "id": message.id,
                "to": message.msisdn,
                "text": message.text,
                "language": message.language,
                "notice": message.notice,
                "expires": utc_text(message.expires_at),
            }
        )
        headers = {"Content-Type": "application/json", "Idempotency-Key": message.id}
        if self._secret:
            headers[HEADER] = sign(self._secret, body, self._now())
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._connections)
            jar = aiohttp.DummyCookieJar()
            self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout, cookie_jar=jar)
        try:
            async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
                return _answer(response.status, response.headers, await _body(response), self._now())
        except TimeoutError:
            return Answer(Taken.LATER, "no answer in time")
        except (aiohttp.ClientError, OSError) as error:
            return Answer(Taken.LATER, type(error).__name__)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """The first MAX_ANSWER_OCTETS of it."""
    octets = b""
    while len(octets) < MAX_ANSWER_OCTETS and (some := await response.content.read(MAX_ANSWER_OCTETS - len(octets))):
        octets += some
    return octets


def _answer(status: int, headers: Mapping[str, str], octets: bytes, now: int) -> Answer:
    if 200 <= status < 300:
        return Answer(Taken.YES, reference=_reference(octets))
    if status in _LATER or status >= 500:
        return Answer(Taken.LATER, f"status {status}", after_s=_after_s(headers.get("Retry-After", ""), now))
    return Answer(Taken.NO, f"status {status}")


def _reference(octets: bytes) -> str:
    try:
        found = orjson.loads(octets)
    except ValueError:
        return ""
    id_ = found.get("id") if isinstance(found, dict) else None
    return str(id_) if isinstance(id_, str | int) else ""


def _after_s(text: str, now: int) -> float:
    """Seconds of Retry-After (RFC 9110 §10.2.3): a number, or a date; 0 = it says nothing that can be read."""
    text = text.strip()
    try:
        seconds = float(int(text)) if text.isdecimal() else _date(text) - now
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), MAX_AFTER_S)


def _date(text: str) -> float:
    found = parsedate_to_datetime(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() if isinstance(found, datetime) else 0.0
