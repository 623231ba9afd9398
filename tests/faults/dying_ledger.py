"""A ledger whose process is killed (kill -9) before or after one of its Redis commands."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Literal, NoReturn

from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings

Moment = Literal["before", "after"]


class DyingLedger(RedisLedger):
    """Kills its process at its command `dies_at`."""

    asked = 0
    dies_at = 0
    moment: Moment = "before"

    def _asked(self, operation: str, partition: int, command: Any, **more: Any) -> asyncio.Future[Any]:
        if operation in ("installation", "scan"):  # connecting, and the key that is made once
            return super()._asked(operation, partition, command, **more)
        self.asked += 1
        dies = self.asked == self.dies_at  # others are asked while this one is waited for
        if dies and self.moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = super()._asked(operation, partition, command, **more)
        if dies:
            answer.add_done_callback(lambda _: os.kill(os.getpid(), signal.SIGKILL))
        return answer


def killed(
    url: str,
    settings: LedgerSettings,
    work: Callable[[RedisLedger], Coroutine[Any, Any, None]],
    dies_at: int,
    moment: Moment,
) -> bool:
    """Do the work in a process that is killed at its command `dies_at`. False = it had fewer commands, and finished."""

    async def run() -> None:
        ledger = await DyingLedger.connect(url, settings)
        ledger.dies_at, ledger.moment = dies_at, moment
        await work(ledger)
        await ledger.close()

    def child() -> NoReturn:
        asyncio.run(run())
        os._exit(0)

    pid = os.fork()
    if pid == 0:
        try:
            child()
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the child failed"
    return os.WIFSIGNALED(status)


def kills(*, together: bool = False) -> Iterator[tuple[int, Moment]]:
    """Number and moment of each kill. `together`: commands run at the same time. Of commands one after the other,
    before the second is after the first: the same kill.
    """
    for dies_at in itertools.count(1):
        if together or dies_at == 1:
            yield dies_at, "before"
        yield dies_at, "after"
