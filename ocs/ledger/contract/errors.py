"""Errors of the ledger's operations."""

from __future__ import annotations


class LedgerError(Exception):
    """The operation was refused; nothing was changed. `code` is stable, the message is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class LedgerUnavailable(Exception):
    """Redis did not answer in time. The operation may have been applied: repeat it with the same key or reference."""
