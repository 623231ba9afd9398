"""Ports for servers that need a fixed one.

They are below the range from which the system assigns ports (ip_local_port_range), so that no connection takes one
before its server does. Each process of a parallel run has its own range and never assigns a port twice.
"""

from __future__ import annotations

import itertools
import os
import socket

FIRST, RANGE, PROCESSES = 12_000, 2_000, 10
_process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % PROCESSES
_numbers = itertools.count(os.getpid())


def free_port() -> int:
    """A free port of loopback. Raises OSError if the range has none."""
    for number in itertools.islice(_numbers, RANGE):
        port = FIRST + _process * RANGE + number % RANGE
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no port of the range is free")
