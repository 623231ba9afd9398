"""Errors of the ledger's operations."""

from __future__ import annotations


class LedgerError(Exception):
    """The operation was refused; nothing was changed. `code` is a stable word, the message is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class LedgerUnavailable(Exception):
    """Redis could not be asked in time. Whether the operation was applied is unknown: resend it by its key."""
