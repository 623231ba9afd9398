"""Mandates: by what an account, or a group for its numbers (HOT-GRP-4), is debited: a SEPA mandate, or a token of the
payment provider. Each is a record of its own in the ledger, encrypted. Nothing of it goes to logs or events.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import orjson
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from ocs.accounts.errors import InputError
from ocs.payments.signing import SecretError

MAX_NAME = 70
"""Characters of a debtor's name (pain.008)."""
MAX_TOKEN = 256
MANDATE_ID_OCTETS = 9


@dataclass(frozen=True, slots=True)
class Mandate:
    id: str
    """Of SEPA: the Unique Mandate Reference (AT-01), up to 35 characters."""
    name: str
    """Of the debtor."""
    signed_on: str
    """Date of signature, 2026-12-24."""
    iban: str = ""
    bic: str = ""
    token: str = ""
    """By which the provider knows it; "" = it is for SEPA files."""
    first_order: str = ""
    """Order that was collected as FRST."""

    @property
    def masked(self) -> str:
        """What people may see of the account, or of the token."""
        return f"{self.iban[:4]}…{self.iban[-3:]}" if self.iban else f"…{self.token[-4:]}"

    def facts(self) -> dict[str, object]:
        return {"mandate": self.id, "signed_on": self.signed_on, "account": self.masked, "by": self.by}

    @property
    def by(self) -> str:
        return "sepa" if self.iban else "provider"

    def __repr__(self) -> str:
        return f"Mandate({self.id!r})"


class MandateLedger(Protocol):
    async def read_mandate(self, payer: str) -> bytes | None: ...
    async def write_mandate(self, payer: str, *, new: bytes | None, old: bytes | None) -> bool: ...


def new_key(path: Path) -> None:
    """Write a new key file, readable by its owner only. FileExistsError."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(Fernet.generate_key() + b"\n")


def read_keys(path: str) -> MultiFernet:
    """The keys of a file: the first encrypts, all decrypt. SecretError."""
    try:
        lines = Path(path).read_text(encoding="ascii").split()
        return MultiFernet([Fernet(each) for each in lines])
    except (OSError, ValueError) as error:
        why = "cannot be read" if isinstance(error, OSError) else "must have keys of `ocs mandate new-key`"
        raise SecretError(f"{path} {why}") from None


def sepa_mandate(*, iban: str, name: str, signed_on: date, bic: str = "", mandate_id: str = "") -> Mandate:
    """InputError: "iban", "bic", "name", "mandate". `bic` "" = that of the IBAN's bank, if it is known."""
    from schwifty import BIC, IBAN
    from schwifty.exceptions import SchwiftyException

    try:
        account = IBAN(iban)
    except SchwiftyException:
        raise InputError("iban", "this is no valid IBAN") from None  # never say which
    try:
        bank = BIC(bic) if bic else account.bic
    except SchwiftyException:
        raise InputError("bic", f"{bic!r} is no valid BIC") from None
    mandate_id = mandate_id or f"OCS-{secrets.token_hex(MANDATE_ID_OCTETS).upper()}"
    if not (0 < len(mandate_id) <= 35 and mandate_id.isascii() and mandate_id.isprintable()):
        raise InputError("mandate", "a mandate id has 1 to 35 printable ASCII characters")
    return Mandate(mandate_id, _name(name), signed_on.isoformat(), str(account), str(bank or ""))


def provider_mandate(*, token: str, name: str, signed_on: date) -> Mandate:
    """InputError: "token", "name"."""
    if not (0 < len(token) <= MAX_TOKEN and token.isascii() and token.isprintable()):
        raise InputError("token", f"a token has 1 to {MAX_TOKEN} printable ASCII characters")
    return Mandate(f"T-{secrets.token_hex(MANDATE_ID_OCTETS).upper()}", _name(name), signed_on.isoformat(), token=token)


def _name(text: str) -> str:
    if not (0 < len(text.strip()) <= MAX_NAME) or not text.isprintable():
        raise InputError("name", f"a name has 1 to {MAX_NAME} printable characters")
    return text.strip()


class Mandates:
    def __init__(self, ledger: MandateLedger, keys: MultiFernet) -> None:
        self._ledger, self._keys = ledger, keys

    async def read(self, payer: str) -> Mandate | None:
        """SecretError: it was encrypted by another key."""
        stored = await self._ledger.read_mandate(payer)
        return self._opened(stored) if stored is not None else None

    async def put(self, payer: str, mandate: Mandate) -> None:
        """Put the mandate in place of the one before."""
        while not await self._ledger.write_mandate(
            payer, new=self._sealed(mandate), old=await self._ledger.read_mandate(payer)
        ):
            pass  # somebody else has just changed it

    async def revoke(self, payer: str) -> bool:
        """False = there was none."""
        while (stored := await self._ledger.read_mandate(payer)) is not None:
            if await self._ledger.write_mandate(payer, new=None, old=stored):
                return True
        return False

    async def change(self, payer: str, mandate_id: str, how: Callable[[Mandate], Mandate]) -> Mandate | None:
        """Change this mandate. None = the payer has another one now, or none."""
        while True:
            stored = await self._ledger.read_mandate(payer)
            if stored is None or (mandate := self._opened(stored)).id != mandate_id:
                return None
            changed = how(mandate)
            if changed == mandate or await self._ledger.write_mandate(payer, new=self._sealed(changed), old=stored):
                return changed

    async def note_first(self, payer: str, mandate_id: str, order_id: str) -> None:
        await self.change(payer, mandate_id, lambda mandate: replace(mandate, first_order=order_id))

    def _sealed(self, mandate: Mandate) -> bytes:
        return self._keys.encrypt(orjson.dumps(asdict(mandate)))

    def _opened(self, stored: bytes) -> Mandate:
        try:
            fields: dict[str, Any] = orjson.loads(self._keys.decrypt(stored))
        except InvalidToken:
            raise SecretError("a mandate was encrypted by a key that payments.mandate_key_file does not have") from None
        return Mandate(**fields)
