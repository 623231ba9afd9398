"""Notices: what workers are told of changes that concern running sessions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NoticedSession:
    """A session whose client should hear from us, and how it is reached."""

    session_id: str
    origin_host: str
    origin_realm: str
    relay: str
    """The relay its last request came through; "" = the client is connected itself."""
    context: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Published by the script that made the change, heard by all workers; may be lost: Validity-Time leads to the same
    end.
    """

    kind: str
    """"reauthorize" (RAR) or "abort" (ASR)."""
    reason: str
    """"topup", "refund", "package", "limit", "bars", "state", "reclaim", "threshold"."""
    at: float
    """Unix seconds when the change was asked for (for the time to unblock)."""
    account_id: str
    sessions: tuple[NoticedSession, ...]
