"""Idempotency-Key: a request that is repeated under the same key gets the first answer, and is done once.

The ledger does each operation once per reference, and keeps references for more than a year. Beside that the answer is
kept for a week (`ocs.ledger.redis.api`), so that a repetition gets the same octets. If the process ended between the
two, the repetition reaches the ledger, changes nothing, and is answered with what holds then. A refused request did
nothing: its key may be used again.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from dataclasses import dataclass
from typing import Self

import orjson
from fastapi import Request
from starlette.responses import Response

from ocs.api.problems import ProblemError
from ocs.ledger.contract.api_keys import ApiKey, ApiLedger, KeptAnswer

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
PATTERN = r"^[!-~]{1,64}$"


@dataclass(frozen=True, slots=True)
class Repetition:
    """A request with an Idempotency-Key."""

    ledger: ApiLedger
    name: str
    """Under which its answer is kept."""
    fingerprint: str

    @classmethod
    async def of(cls, ledger: ApiLedger, key: ApiKey, request: Request) -> Self:
        """ProblemError "idempotency_key": the header is missing or cannot be used."""
        header = request.headers.get(HEADER, "")
        if not re.fullmatch(PATTERN, header):
            raise ProblemError("idempotency_key", f"{HEADER} must have 1 to 64 printable ASCII characters, no blanks")
        return cls(ledger, f"{key.id}:{header}", _fingerprint(request, await request.body()))

    async def before(self) -> KeptAnswer | None:
        """What is kept of an earlier request of this key; None = this is the first.

        ProblemError "idempotency_reused": the earlier request was another one.
        """
        return self.checked(await self.ledger.begin_answer(self.name, self.fingerprint))

    def checked(self, kept: KeptAnswer | None) -> KeptAnswer | None:
        """ProblemError "idempotency_reused"."""
        if kept is not None and kept.fingerprint != self.fingerprint:
            raise ProblemError("idempotency_reused", f"this {HEADER} was sent before with another request")
        return kept

    async def undo(self) -> None:
        """Nothing was done: the key may be used again."""
        await self.ledger.drop_answer(self.name, self.fingerprint)

    async def planned(self) -> bytes | None:
        """What an earlier try of the request was about to do."""
        return await self.ledger.planned_answer(self.name)

    async def plan(self, what: bytes) -> bytes:
        """Keep what is about to be done. Returns what is kept: of two requests at once, the first."""
        return await self.ledger.plan_answer(self.name, what)

    async def keep(self, response: Response, *, replayed: bool) -> Response:
        """Keep the answer if the operation was done. Of two requests at once, both get the first one's answer. After an
        error of the server it is not known whether it was done: the next one is a repetition.
        """
        if response.status_code >= 500:
            return response
        if response.status_code >= 300:
            await self.undo()
            return response
        own = _pack(response)
        kept = await self.ledger.keep_answer(self.name, self.fingerprint, own)
        if kept != own:
            return again(kept)
        if replayed:
            response.headers[REPLAYED] = "true"
        return response


def _fingerprint(request: Request, body: bytes) -> str:
    """Digest of method, path, query and body; of JSON whatever its spaces and the order of its keys."""
    with contextlib.suppress(orjson.JSONDecodeError):
        body = orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS) if body else b""
    query = request.scope["query_string"].decode("latin-1")
    text = f"{request.method} {request.scope['path']}{'?' if query else ''}{query}\n".encode()
    return hashlib.sha256(text + body).hexdigest()


def _pack(response: Response) -> bytes:
    head = {"status": response.status_code, "type": response.media_type or response.headers.get("content-type")}
    return orjson.dumps(head) + b"\n" + bytes(response.body)


def again(answer: bytes) -> Response:
    """A kept answer, marked as a repetition."""
    head, _, body = answer.partition(b"\n")
    facts = orjson.loads(head)
    return Response(body, facts["status"], media_type=facts["type"], headers={REPLAYED: "true"})
