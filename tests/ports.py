"""Ports for servers that must be told one.

They lie below those that the system chooses itself (ip_local_port_range), so that no connection takes one before its
server does.
Each process of a parallel run has a range of its own and hands out no port twice.
"""

from __future__ import annotations

import itertools
import os
import socket

FIRST, RANGE, PROCESSES = 12_000, 2_000, 10
_process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % PROCESSES
_numbers = itertools.count(os.getpid())


def free_port() -> int:
    """A port of the loopback that nobody has. Raises OSError when none of the range is free."""
    for number in itertools.islice(_numbers, RANGE):
        port = FIRST + _process * RANGE + number % RANGE
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no port of the range is free")
