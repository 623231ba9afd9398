"""Makes the objects of this room from the settings [payments]."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Protocol, TypeVar

from cryptography.fernet import MultiFernet

from ocs.payments.collecting import Collecting, Ledger, Offer, OrderMetrics
from ocs.payments.mandates import Mandates, read_keys
from ocs.payments.orders import PaymentOrders
from ocs.payments.sepa.export import Creditor, SepaExport
from ocs.payments.signing import SecretError, read_secret, read_webhook_secret
from ocs.payments.webhook import WebhookReceiver
from ocs.settings.payments_section import PaymentsSection

Read = TypeVar("Read")

if TYPE_CHECKING:
    from ocs.payments.http_provider import HttpProvider


class Metrics(OrderMetrics, Protocol):
    def provider_call(self, operation: str, result: str, seconds: float) -> None: ...


class PaymentLedger(Ledger, Protocol):
    @property
    def partitions(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Secrets:
    """Contents of the files that the settings name."""

    mandate_keys: MultiFernet | None = field(repr=False)
    request: bytes = field(repr=False)
    webhook: bytes = field(repr=False)


def secrets_of(section: PaymentsSection) -> Secrets:
    """SecretError: a file cannot be used; it names the key of the settings."""
    return Secrets(
        _read("mandate_key_file", section.mandate_key_file, read_keys) if section.mandate_key_file else None,
        _read("secret_file", section.secret_file, read_secret) if section.url else b"",
        _read("webhook_secret_file", section.webhook_secret_file, read_webhook_secret) if section.url else b"",
    )


def _read(key: str, path: str, read: Callable[[str], Read]) -> Read:
    try:
        return read(path)
    except SecretError as error:
        raise SecretError(f"payments.{key}: {error}") from None


def _provider(
    section: PaymentsSection, secret: bytes, clock: Callable[[], float], metrics: Metrics | None
) -> HttpProvider:
    from ocs.payments.http_provider import HttpProvider  # most commands need no HTTP client

    return HttpProvider(
        section.url,
        secret,
        timeout_s=section.timeout_ms / 1000,
        max_in_flight=section.max_in_flight,
        return_url=section.return_url,
        clock=clock,
        metrics=metrics,
    )


class Payments:
    """All of one process. Create it with a running event loop; `close` at the end. SecretError: a file cannot be used.

    `now` gives Unix seconds; `rng` makes order ids that nobody can guess.
    """

    def __init__(
        self,
        section: PaymentsSection,
        ledger: PaymentLedger,
        offer: Offer,
        *,
        now: Callable[[], int],
        rng: Random,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._section, self._ledger, self._now = section, ledger, now
        secrets = secrets_of(section)
        self.mandates = Mandates(ledger, secrets.mandate_keys) if secrets.mandate_keys is not None else None
        self._provider = _provider(section, secrets.request, clock, metrics) if section.url else None
        collecting = Collecting(section.automatic, self._provider, self.mandates)
        self.orders = PaymentOrders(ledger, offer, collecting, now, rng, metrics)
        self.webhook = (
            WebhookReceiver(secrets.webhook, self.orders, now, tolerance_s=section.webhook_tolerance_s)
            if self._provider is not None
            else None
        )

    async def close(self) -> None:
        if self._provider is not None:
            await self._provider.close()

    def sepa_export(self) -> SepaExport:
        """SecretError: there is no key for mandates."""
        section = self._section
        if self.mandates is None or section.automatic != "sepa":
            raise SecretError('SEPA files need payments.automatic = "sepa"')
        creditor = Creditor(
            section.creditor_name,
            section.creditor_id,
            section.creditor_iban,
            section.creditor_bic,
            section.sepa_schema,
            section.collect_after_days,
            section.settled_after_days,
        )
        return SepaExport(self._ledger, self.orders, self.mandates, creditor, self._ledger.partitions, self._now)
