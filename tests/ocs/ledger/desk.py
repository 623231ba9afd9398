"""A short notation for tests of the model: one account and its operations."""

from __future__ import annotations

from typing import Any

from ocs.catalogue.price import compile_price, free_price
from ocs.ledger.contract.charging import ChargeOutcome
from ocs.values.products import BucketTerms, PackageTerms
from ocs.values.use import Unit
from tests.ocs.ledger.books import EUR, MB, MONTH, NOW, WHEN, request
from tests.ocs.ledger.model import ModelLedger

MINUTE = compile_price("dear", unit=Unit.SECONDS, micro_eur=500_000, quantity=60, first=60, next_=60)
MINI = PackageTerms("MINI", 6_990_000, 30 * 86_400, (BucketTerms("MINI.data", "octets", 100 * MB),))
FREE = free_price("emergency", Unit.SECONDS)


class Desk:
    """One account of a model."""

    def __init__(self, credit: int = 20 * EUR, package: PackageTerms | None = None, **more: Any) -> None:
        self.model = ModelLedger(**more)
        self.id = self.open("38668100000", credit, package)

    def open(self, msisdn: str, credit: int, package: PackageTerms | None = None) -> str:
        return self.model.open_account(
            msisdn=msisdn, imsi=msisdn, credit_micro_eur=credit, package=package, entropy=int(msisdn), **WHEN
        )

    def charge(self, kind: str, number: int, *services: Any, **more: Any) -> ChargeOutcome:
        more.setdefault("month", MONTH)
        return self.model.charge(request(more.pop("account", self.id), kind, number, *services, **more))

    @property
    def account(self) -> Any:
        return self.model.accounts[self.id]

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.model.events if event["k"] == kind]

    def subscribe(self, product: PackageTerms, reference: str, now: int = NOW, **more: Any) -> bool:
        return self.model.subscribe(self.id, product=product, reference=reference, now=now, month=MONTH, **more)


def one(outcome: ChargeOutcome) -> Any:
    assert len(outcome.services) == 1
    return outcome.services[0]
