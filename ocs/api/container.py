"""What all routes work with: one container, made at start (`ocs.process.api`, or a test)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from ocs.accounts.backend import Backend
from ocs.api.limits import RateLimits
from ocs.history.service import History
from ocs.notices.service import NoticeService
from ocs.payments.wiring import Payments
from ocs.settings.schema import Settings


class ApiMetrics(Protocol):
    """What the API counts."""

    def api_request(self, route: str, method: str, status: int, seconds: float) -> None: ...

    def count(self, name: str, *labels: str, by: int = 1) -> None: ...


@dataclass(frozen=True, slots=True)
class Container:
    """Owners of other rooms add their services as fields."""

    backend: Backend
    settings: Settings
    metrics: ApiMetrics
    limits: RateLimits
    monotonic: Callable[[], float]
    """Seconds; only differences mean something."""
    is_current: Callable[[], bool] = lambda: True
    """Every version of the catalogue that is in force is known (`CatalogueReader.is_current`)."""
    payments: Payments | None = None
    """Mandates, orders and the provider; None = [payments] has none."""
    slow: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    """Held by requests that take a processor for a while: reading record files, compiling a catalogue."""

    history: History | None = None
    """What people look up in SQL."""
    notices: NoticeService | None = None

    def time(self, unix_s: int) -> datetime | None:
        """A time in the operator's time zone, for an answer; 0 → None."""
        return datetime.fromtimestamp(unix_s, self.backend.catalogue.time_zone) if unix_s else None
