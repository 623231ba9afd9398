"""Why an operation on an account was not done: a stable code for programs, words for people. Nothing was changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ocs.ledger.contract.errors import LedgerError


class AccountError(Exception):
    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code = code


class InputError(AccountError):
    """What was asked for is wrong in itself. `code` names the argument: "msisdn", "imsi", "amount", "reference",
    "package", "bars", "partition".
    """


class UnknownError(AccountError):
    """There is nothing of that name: "account", "session"."""


class RefusedError(AccountError):
    """The account does not allow it. `code` is that of the LedgerError: "exists", "ceiling", "credit", "state",
    "reference", …
    """


@contextmanager
def refusals() -> Iterator[None]:
    """What the ledger refuses becomes a RefusedError. LedgerUnavailable goes through: whether it was done is not
    known.
    """
    try:
        yield
    except LedgerError as error:
        raise RefusedError(error.code, str(error)) from error
