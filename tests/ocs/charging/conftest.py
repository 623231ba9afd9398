"""The catalogue of the tests, and a worker with one account on an in-memory ledger."""

from __future__ import annotations

import pytest

from ocs.catalogue.catalogue import Catalogue
from tests.catalogue import fixed_catalogue
from tests.ocs.charging.ccr import IMSI, MSISDN
from tests.ocs.charging.fake_ledger import FakeLedger
from tests.ocs.charging.worker import ACCOUNT, Worker


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return fixed_catalogue()


@pytest.fixture
def ledger() -> FakeLedger:
    ledger = FakeLedger()
    ledger.open(ACCOUNT, MSISDN, IMSI)
    return ledger


@pytest.fixture
def worker(ledger: FakeLedger, catalogue: Catalogue) -> Worker:
    return Worker(ledger, catalogue)
