"""Payments: orders automatic top-ups and takes payment orders further (`ocs.payments.driver`), while Redis answers. A
provider that is down delays its own orders only.
"""

from __future__ import annotations

import logging

from ocs.compose import StartError
from ocs.ledger.redis.ledger import RedisLedger
from ocs.payments.driver import PaymentDriver
from ocs.payments.signing import SecretError
from ocs.payments.wiring import Payments
from ocs.process.child_main import Child
from ocs.process.housekeeping.retrying import run_loop

log = logging.getLogger(__name__)

EVERY_S = 0.5


async def run_payments(child: Child, ledger: RedisLedger) -> None:
    """Run until the process is asked to end. StartError: a file with secrets cannot be used."""
    section = child.settings.payments
    try:
        payments = Payments(
            section,
            ledger,
            child.catalogue,
            now=child.environment.now,
            rng=child.environment.rng,
            metrics=child.metrics,
            clock=child.environment.clock,
        )
    except SecretError as error:
        raise StartError(str(error)) from None
    driver = PaymentDriver(
        ledger,
        payments.orders,
        partitions=ledger.partitions,
        now=child.environment.now,
        stopwatch=child.environment.monotonic,
        metrics=child.metrics,
        together=section.max_in_flight,
    )
    try:
        await run_loop(child, EVERY_S, driver.step)
    finally:
        await payments.close()
