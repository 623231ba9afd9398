"""`take_spare_time`: all threads of a process let charging go before them."""

from __future__ import annotations

import subprocess
import sys

from tests.waiting import PATIENCE_S

PROGRAM = """
import os, threading
from ocs.process.processes import take_spare_time
end = threading.Event()
threading.Thread(target=end.wait).start()
take_spare_time()
threading.Thread(target=end.wait).start()
threads = [int(thread) for thread in os.listdir("/proc/self/task")]
print([os.sched_getscheduler(thread) == os.SCHED_IDLE or os.getpriority(os.PRIO_PROCESS, thread) for thread in threads])
end.set()
"""


def test_threads_of_before_and_after_take_what_is_left() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert done.stdout.strip() in ("[True, True, True]", "[19, 19, 19]"), done.stdout + done.stderr
