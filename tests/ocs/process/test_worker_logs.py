"""Log lines of a worker about its own faults: the place in the code, and no text that may contain a subscriber."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from ocs.process.worker import Background, hear

MSISDN = "38668100000"


async def test_background_work_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise RuntimeError(MSISDN)

    Background().spawn(fail())
    await asyncio.sleep(0.01)
    assert (
        "internal error in a background task, please report it: RuntimeError at" in caplog.text
        and MSISDN not in caplog.text
    )


async def test_a_notice_whose_handling_fails(caplog: pytest.LogCaptureFixture) -> None:
    class Ledger:
        async def notices(self, subscribed: Callable[[], None]) -> AsyncIterator[str]:
            subscribed()
            yield MSISDN
            yield "the next one"

    class Requests:
        heard: list[str] = []  # noqa: RUF012

        def hear(self, notice: Any) -> None:
            self.heard.append(notice)
            raise ValueError(f"of {notice}")

    ready: list[bool] = []
    await hear(Ledger(), Requests(), lambda: ready.append(True))
    assert ready and Requests.heard == [MSISDN, "the next one"]
    assert (
        "internal error while handling a notice of the ledger, please report it: ValueError at" in caplog.text
        and MSISDN not in caplog.text
    )
