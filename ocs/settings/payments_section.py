"""The section [payments]: the payment provider, and SEPA direct debits by file."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from ocs.settings.base import CombinationError, PathText, Section, is_loopback

CREDITOR_ID = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{3}[A-Za-z0-9+?/:().,' -]{1,28}")


def _url(text: str) -> str:
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username):
        raise ValueError("is no URL of a provider")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError("plain http is for loopback only")
    return text.rstrip("/")


# schwifty reads its registry of banks when it is imported, which a worker needs not.


def _iban(text: str) -> str:
    if not text:
        return ""
    from schwifty import IBAN
    from schwifty.exceptions import SchwiftyException

    try:
        return str(IBAN(text))
    except SchwiftyException as error:
        raise ValueError(f"is no IBAN: {error}") from None


def _bic(text: str) -> str:
    if not text:
        return ""
    from schwifty import BIC
    from schwifty.exceptions import SchwiftyException

    try:
        return str(BIC(text))
    except SchwiftyException as error:
        raise ValueError(f"is no BIC: {error}") from None


def _creditor_id(text: str) -> str:
    if text and not CREDITOR_ID.fullmatch(text):
        raise ValueError("is no creditor identifier (AT-02 of the SEPA rulebook)")
    return text


class PaymentsSection(Section):
    """How automatic top-ups and one-off payments are collected (docs/PAYMENTS.md)."""

    automatic: Literal["", "http", "sepa"] = Field(default="", description='"" (nobody), "http" or "sepa"')
    """Who collects automatic top-ups: the provider at `url`, or the bank, by files (`ocs sepa`)."""
    url: Annotated[str, AfterValidator(_url)] = Field(
        default="", description='"" (none), https://…, or http://… on loopback'
    )
    """The payment provider. One-off payments go to it too."""
    secret_file: PathText = Field(default="", description="a file with at least 24 characters")
    """Secret that signs our requests to the provider. Its first line counts."""
    webhook_secret_file: PathText = Field(default="", description='a file with "whsec_" and base64, or base64')
    """Secret that signs the provider's notifications (Standard Webhooks)."""
    mandate_key_file: PathText = Field(default="", description="a file made by `ocs mandate new-key`")
    """Keys that encrypt mandates in the ledger: the first line encrypts, all decrypt."""
    return_url: Annotated[str, AfterValidator(_url)] = Field(default="", description='"" or https://…')
    """Where the subscriber goes after a one-off payment."""
    timeout_ms: int = Field(default=10_000, ge=100, le=60_000, description="100 to 60000 ms")
    """Longest wait for an answer of the provider; then its outcome is asked for."""
    max_in_flight: int = Field(default=16, ge=1, le=256, description="1 to 256")
    """Requests to the provider at a time."""
    webhook_tolerance_s: int = Field(default=300, ge=10, le=3_600, description="10 to 3600 s")
    """A notification whose time is further off is refused: it may be a replay."""
    creditor_name: str = Field(default="", max_length=70, description="at most 70 characters")
    """Name of the creditor in SEPA files."""
    creditor_id: Annotated[str, AfterValidator(_creditor_id)] = Field(default="", description="such as SI98ZZZ12345678")
    """Creditor identifier that the bank has given."""
    creditor_iban: Annotated[str, AfterValidator(_iban)] = Field(default="", description="an IBAN")
    """Account to which direct debits are paid."""
    creditor_bic: Annotated[str, AfterValidator(_bic)] = Field(default="", description="a BIC")
    """BIC of the creditor's bank."""
    sepa_schema: Literal["pain.008.001.02", "pain.008.001.08"] = Field(
        default="pain.008.001.08", description='"pain.008.001.02" or "pain.008.001.08"'
    )
    """Message that the bank takes."""
    collect_after_days: int = Field(default=2, ge=1, le=14, description="1 to 14 bank days")
    """Bank days (TARGET calendar) between the export and the day of collection."""
    settled_after_days: int = Field(default=0, ge=0, le=30, description="0 to 30 bank days")
    """A debit is credited so long after its collection if the bank has not said that it failed; 0 = only when the bank
    says that it is paid. For banks that report failures only: each file must have been sent to the bank.
    """

    @model_validator(mode="after")
    def _complete(self) -> PaymentsSection:
        found: list[tuple[tuple[str | int, ...], object, str]] = []

        def needs(why: str, *names: str) -> None:
            for name in names:
                if not getattr(self, name):
                    found.append(((name,), "", f"is needed {why}"))

        if self.automatic == "http":
            needs('by automatic = "http"', "url", "mandate_key_file")
        if self.url:
            needs("by url", "secret_file", "webhook_secret_file")
        if self.automatic == "sepa":
            needs(
                'by automatic = "sepa"',
                *("creditor_name", "creditor_id", "creditor_iban", "creditor_bic", "mandate_key_file"),
            )
        if found:
            raise CombinationError(found)
        return self
