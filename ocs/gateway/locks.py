"""One connection a peer, over all workers of a server (RFC 6733 §2.1: one connection, one state machine).

A worker that has a peer holds a lock on a file of its name (an open file description lock, Linux): the kernel gives it back when the
process ends, however it ends, and tells others who ask whether it is held without taking it. A worker that
must refuse a peer because another one has it tells that one to probe its connection, by a datagram to its socket; if that is lost, the
watchdog finds a dead connection in its own time.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import re
import socket
import struct
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)

MAX_DATAGRAM_OCTETS = 300
"""A DiameterIdentity has 255 at most."""
_WHOLE_FILE = struct.Struct("hhqqi")
"""struct flock: type, whence, start, length, process id (fcntl(2))."""
_NAME = re.compile(r"[a-z0-9._-]{1,255}")


class PeerLocks:
    """`folder` "" = this worker is the only one: every lock is free."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder) if folder else None
        self._held: dict[str, int] = {}
        self._socket: socket.socket | None = None

    def open(self, loop: asyncio.AbstractEventLoop, probe: Callable[[str], None]) -> None:
        """`probe` is called with the peer that another worker has just refused."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{os.getpid()}.sock"
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            self._socket.bind(str(path))
        except OSError as error:  # the path may be too long for a socket
            logger.warning("other workers cannot ask this one to probe a connection: %s", error)
            self._socket.close()
            self._socket = None
            return
        loop.add_reader(self._socket, self._asked, probe)

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        for host in list(self._held):
            self.release(host)
        if self._socket is not None and self._folder is not None:
            loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None
            (self._folder / f"{os.getpid()}.sock").unlink(missing_ok=True)

    def _asked(self, probe: Callable[[str], None]) -> None:
        assert self._socket is not None
        with contextlib.suppress(OSError):
            probe(self._socket.recv(MAX_DATAGRAM_OCTETS).decode("ascii", "replace"))

    def _path(self, host: str) -> Path | None:
        name = host.lower()
        return self._folder / f"{name}.lock" if self._folder is not None and _NAME.fullmatch(name) else None

    def hold(self, host: str) -> bool:
        """Take the peer for this worker; False = another one has it."""
        path = self._path(host)
        if path is None or host.lower() in self._held:
            return True
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _WHOLE_FILE.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        except OSError:
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._held[host.lower()] = descriptor
        return True

    def release(self, host: str) -> None:
        descriptor = self._held.pop(host.lower(), None)
        if descriptor is not None:
            os.close(descriptor)

    def held_by_anyone(self, host: str) -> bool:
        """Is the peer with this worker or another one?"""
        path = self._path(host)
        if host.lower() in self._held:
            return True
        if path is None or not path.exists():
            return False
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            wanted = _WHOLE_FILE.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            in_the_way: int = _WHOLE_FILE.unpack(fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, wanted))[0]
        finally:
            os.close(descriptor)
        return in_the_way != fcntl.F_UNLCK

    def ask_to_probe(self, host: str) -> None:
        """Tell the worker that has the peer."""
        path = self._path(host)
        if path is None or self._folder is None or self._socket is None:
            return
        with contextlib.suppress(OSError, ValueError):
            holder = int(path.read_text("ascii"))
            self._socket.sendto(host.lower().encode("ascii"), str(self._folder / f"{holder}.sock"))
