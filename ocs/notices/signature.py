"""Signatures of webhooks, ours and those of receipts: HMAC-SHA-256 over time and body.

    Ocs-Signature: t=1795000000,v1=5257a869…      v1 = hex(HMAC-SHA-256(secret, "1795000000." + body))

The time keeps an old request from being repeated by somebody who saw it.
"""

from __future__ import annotations

import hashlib
import hmac
import re

HEADER = "Ocs-Signature"
WINDOW_S = 300
"""A signature may be so much older, or newer, than our clock."""
_SIGNATURE = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})", re.ASCII)


def sign(secret: str, body: bytes, now: int) -> str:
    """The value of the header."""
    return f"t={now},v1={_digest(secret, body, now)}"


def is_signed(secret: str, body: bytes, header: str, now: int) -> bool:
    """False: another secret, another body, or another time. Without a secret nothing is signed."""
    found = _SIGNATURE.fullmatch(header.strip())
    if found is None or not secret:
        return False
    at = int(found[1])
    return abs(now - at) <= WINDOW_S and hmac.compare_digest(found[2], _digest(secret, body, at))


def _digest(secret: str, body: bytes, at: int) -> str:
    return hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
