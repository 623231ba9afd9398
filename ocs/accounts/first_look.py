"""What was read of an account when a request for it came in, so that its operation need not read it again.

It serves the first look-up of the number and no other: later ones may come after the operation's own change.
"""

from __future__ import annotations

from ocs.ledger.contract.views import AccountView
from ocs.ledger.redis import views
from ocs.values.identities import Msisdn
from ocs.values.moment import When


class FirstLook:
    """`document`: what Redis has of the account; None = it was not read."""

    def __init__(self, msisdn: Msisdn, account_id: str, document: bytes | None) -> None:
        self.msisdn, self.account_id = msisdn, account_id
        self._document = document
        self._view: AccountView | None = None
        self._is_used = False

    def view(self, when: When) -> AccountView | None:
        """None = it was not read, has moved or cannot be read: ask the ledger, which says which."""
        if self._view is None and self._document:
            self._view = views.account_view(self.account_id, self._document, **when)
        return self._view

    def take_id(self, msisdn: Msisdn) -> str | None:
        """Id of the account for the first look-up of the number; None = ask the ledger."""
        if self._is_used or msisdn != self.msisdn:
            return None
        self._is_used = True
        return self.account_id

    def take_view(self, msisdn: Msisdn, when: When) -> AccountView | None:
        """The account for the first look-up of the number, with nothing done before; None = ask the ledger."""
        if self._is_used or msisdn != self.msisdn or (view := self.view(when)) is None:
            return None
        self._is_used = True
        return view
