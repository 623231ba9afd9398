"""Signatures of requests to the payment provider, and of its notifications.

- Our requests: HMAC-SHA256 over time, method, path and body, in the headers OCS-Timestamp and OCS-Signature.
- Notifications: Standard Webhooks (https://www.standardwebhooks.com, version 1, symmetric): the headers webhook-id,
  webhook-timestamp and webhook-signature.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path

TIMESTAMP, SIGNATURE = "OCS-Timestamp", "OCS-Signature"
ID, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
WEBHOOK_PREFIX = "whsec_"
LEAST_SECRET = 24
"""Octets of a secret."""


class SecretError(Exception):
    """A file with a secret cannot be used. The text names the file, never its content."""


class SignatureError(Exception):
    """A signature is missing, wrong, or too old."""


def read_secret(path: str) -> bytes:
    """First line of a file. SecretError."""
    try:
        lines = Path(path).read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SecretError(f"{path} cannot be read: {type(error).__name__}") from None
    secret = lines[0].strip().encode() if lines else b""
    if len(secret) < LEAST_SECRET:
        raise SecretError(f"{path} must have at least {LEAST_SECRET} characters in its first line")
    return secret


def read_webhook_secret(path: str) -> bytes:
    """The octets of "whsec_…" (base64). SecretError."""
    text = read_secret(path).decode().removeprefix(WEBHOOK_PREFIX)
    try:
        secret = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise SecretError(f"{path} must have {WEBHOOK_PREFIX} and base64 in its first line") from None
    if len(secret) < LEAST_SECRET:
        raise SecretError(f"{path} must have at least {LEAST_SECRET} octets in base64")
    return secret


# -- our requests


def request_headers(secret: bytes, now: int, method: str, path: str, body: bytes) -> dict[str, str]:
    return {TIMESTAMP: str(now), SIGNATURE: f"v1={_request_digest(secret, str(now), method, path, body)}"}


def check_request(
    secret: bytes, headers: Mapping[str, str], method: str, path: str, body: bytes, *, now: int, tolerance_s: int
) -> None:
    """What the provider does with our requests. SignatureError."""
    at, given = headers.get(TIMESTAMP, ""), headers.get(SIGNATURE, "")
    _check_time(at, now, tolerance_s)
    if not hmac.compare_digest(given, f"v1={_request_digest(secret, at, method, path, body)}"):
        raise SignatureError("the signature is wrong")


def _request_digest(secret: bytes, at: str, method: str, path: str, body: bytes) -> str:
    signed = b".".join((at.encode(), f"{method} {path}".encode(), body))
    return hmac.new(secret, signed, hashlib.sha256).hexdigest()


# -- notifications


def webhook_headers(secret: bytes, message_id: str, now: int, body: bytes) -> dict[str, str]:
    """What the provider sends with a notification."""
    digest = _webhook_digest(secret, message_id, str(now), body)
    return {ID: message_id, WEBHOOK_TIMESTAMP: str(now), WEBHOOK_SIGNATURE: f"v1,{digest}"}


def check_webhook(secret: bytes, headers: Mapping[str, str], body: bytes, *, now: int, tolerance_s: int) -> None:
    """Checks signature and time of a notification, so that a recorded one cannot be sent again later. `headers`: by
    their names in small letters. SignatureError.
    """
    message_id, at = headers.get(ID, ""), headers.get(WEBHOOK_TIMESTAMP, "")
    _check_time(at, now, tolerance_s)
    expected = f"v1,{_webhook_digest(secret, message_id, at, body)}".encode()
    given = headers.get(WEBHOOK_SIGNATURE, "").encode().split(b" ")
    if not message_id or not any(hmac.compare_digest(each, expected) for each in given):
        raise SignatureError("the signature is wrong")


def _webhook_digest(secret: bytes, message_id: str, at: str, body: bytes) -> str:
    signed = f"{message_id}.{at}.".encode() + body
    return base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


def _check_time(text: str, now: int, tolerance_s: int) -> None:
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise SignatureError("there is no time")
    if abs(int(text) - now) > tolerance_s:
        raise SignatureError(f"the time differs from ours by more than {tolerance_s} s")
