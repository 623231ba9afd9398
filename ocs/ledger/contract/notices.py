"""Notices: the ledger tells the workers which clients should get a RAR or ASR."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NoticedSession:
    """A session whose client should get a RAR or ASR, and how the client is reached."""

    session_id: str
    origin_host: str
    origin_realm: str
    relay: str
    """Relay of its last request; "" = the client is connected itself."""
    context: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Published by the script that changes an account; every worker receives it. A notice may be lost: the grants then
    end by their Validity-Time.
    """

    kind: str
    """"reauthorize" (RAR) or "abort" (ASR)."""
    reason: str
    """"topup", "refund", "package", "limit", "bars", "state", "identity", "reclaim", "threshold", "measure",
    "facts"."""
    at: float
    """Unix seconds at which the change was requested; the delay of RARs is measured from here."""
    account_id: str
    sessions: tuple[NoticedSession, ...]
