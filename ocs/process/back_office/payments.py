"""Payments: orders automatic top-ups and takes payment orders further (`ocs.payments.driver`), while Redis answers. A
provider that is down delays its own orders only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from ocs.compose import StartError
from ocs.ledger.redis.ledger import RedisLedger
from ocs.payments.driver import PaymentDriver
from ocs.payments.signing import SecretError
from ocs.payments.wiring import Payments
from ocs.process.child_main import Child
from ocs.process.housekeeping.retrying import run_loop

log = logging.getLogger(__name__)

EVERY_S = 0.5


async def run_payments(child: Child, ledger: RedisLedger, is_current: Callable[[], bool] = lambda: True) -> None:
    """Run until the process is asked to end, and pause while the prices in force may not be known. StartError: a file
    with secrets cannot be used.
    """
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

    async def step() -> None:
        if is_current():
            await driver.step()

    try:
        await run_loop(child, EVERY_S, step)
    finally:
        await payments.close()
