"""Why an operation on an account was refused: a stable code for programs, a message for people. Nothing was changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ocs.ledger.contract.errors import LedgerError


class AccountError(Exception):
    """`code` is stable: programs may rely on it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class InputError(AccountError):
    """An argument is invalid. `code` names it: "msisdn", "imsi", "amount", "reference", "package", "product", "date",
    "pool", "quantity", "bars", "partition", "puk", "name" …
    """


class UnknownError(AccountError):
    """What was named does not exist. `code`: "account", "session", "notice" …"""


class RefusedError(AccountError):
    """The ledger refused. `code` is that of its LedgerError: "exists", "ceiling", "credit", "state", "reference" …"""


@contextmanager
def raising_refused() -> Iterator[None]:
    """Turns a LedgerError into a RefusedError. LedgerUnavailable passes through: it is unknown whether the operation
    was done.
    """
    try:
        yield
    except LedgerError as error:
        raise RefusedError(error.code, str(error)) from error
