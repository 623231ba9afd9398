"""Locks that give a peer one connection over all workers of a server (RFC 6733 §2.1).

Each peer has a file whose first octets are locks (open file description locks of Linux). The kernel releases them when
the process ends, however it ends; other processes can test them without taking them.

- `TAKEN`: the holder has the peer's connection. It is taken at the peer's CER or CEA, so that an unanswered outgoing
  connection keeps no peer out, and released when the connection is gone.
- `OPEN`: that connection is open, so RAR and ASR can be sent over it.
- `CALLING`: the holder is the only worker that connects to the peer.

A worker that refuses a peer because another worker has it asks that worker, by a datagram, to probe its connection. If
the datagram is lost, the watchdog still finds a dead connection.
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
from dataclasses import dataclass, field
from pathlib import Path

from protocol.peer import OPEN_STATES, PeerState

logger = logging.getLogger(__name__)

MAX_DATAGRAM_OCTETS = 300
"""A DiameterIdentity has 255 at most."""
TAKEN, OPEN, CALLING = range(3)
"""Offsets of the locks in a peer's file."""
_FLOCK = struct.Struct("hhqqi")
"""struct flock: type, whence, start, length, process id (fcntl(2))."""
_NAME = re.compile(r"[a-z0-9._-]{1,255}")
_WE_CALL = frozenset({PeerState.WAIT_CONN_ACK, PeerState.WAIT_I_CEA})
_BOTH_CALL = frozenset({PeerState.WAIT_CONN_ACK_ELECT, PeerState.WAIT_RETURNS})


def peer_file(folder: str, host: str, kind: str) -> Path | None:
    """Path of a peer's file; None if there is only one worker (`folder` ""), or the name cannot be a file name."""
    name = host.lower()
    return Path(folder) / f"{name}.{kind}" if folder and _NAME.fullmatch(name) else None


def _set(descriptor: int, octet: int, how: int) -> bool:
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(how, os.SEEK_SET, octet, 1, 0))
    except OSError:
        return False
    return True


@dataclass(slots=True)
class _File:
    descriptor: int
    ours: set[int] = field(default_factory=set)


class PeerLocks:
    """`folder`: "" = there is only one worker, and every lock is free. `name`: identifies this worker to the others."""

    def __init__(self, folder: str, name: str = "") -> None:
        self._folder = folder
        self._name = name or str(os.getpid())
        self._files: dict[str, _File] = {}
        self._socket: socket.socket | None = None

    def open(self, loop: asyncio.AbstractEventLoop, probe: Callable[[str], None]) -> None:
        """`probe` is called with the Origin-Host of a peer that another worker has just refused."""
        if not self._folder:
            return
        Path(self._folder).mkdir(parents=True, exist_ok=True)
        path = self._socket_of(self._name)
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            self._socket.bind(str(path))
        except OSError as error:  # the path may be too long for a socket
            logger.warning(
                "%s: this socket cannot be created (if its path is too long, shorten server.data_dir); a peer that "
                "reconnects while its dead connection is open must wait for the watchdog: %s",
                *(path, error),
            )
            self._socket.close()
            self._socket = None
            return
        loop.add_reader(self._socket, self._asked, probe)

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        for file in self._files.values():
            os.close(file.descriptor)
        self._files.clear()
        if self._socket is not None:
            loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None
            self._socket_of(self._name).unlink(missing_ok=True)

    def _socket_of(self, name: str) -> Path:
        return Path(self._folder) / f"{name}.sock"

    def _asked(self, probe: Callable[[str], None]) -> None:
        assert self._socket is not None
        with contextlib.suppress(OSError):
            probe(self._socket.recv(MAX_DATAGRAM_OCTETS).decode("ascii", "replace"))

    # --- taking

    def hold(self, host: str) -> bool:
        """Take the peer for this worker; False = another worker has it."""
        if not self._take(host, TAKEN):
            return False
        file = self._files.get(host.lower())
        if file is not None:
            os.ftruncate(file.descriptor, 0)
            os.pwrite(file.descriptor, self._name.encode(), 0)
        return True

    def call(self, host: str) -> bool:
        """Become the worker that connects to the peer; False = another one does, or has the peer already."""
        return not self.taken_elsewhere(host) and self._take(host, CALLING)

    def follow(self, host: str, state: PeerState) -> None:
        """Take and release this worker's locks according to the state of the peer's state machine."""
        if state in OPEN_STATES:
            self._take(host, OPEN)
            self._give(host, CALLING)
        elif state is PeerState.CLOSING:
            self._give(host, OPEN)
        elif state is PeerState.CLOSED:
            self._give(host, TAKEN, OPEN, CALLING)
        elif state in _WE_CALL:
            self._give(host, TAKEN)  # the incoming connection, which waited for the election, is gone
        else:
            assert state in _BOTH_CALL

    def _take(self, host: str, octet: int) -> bool:
        key, path = host.lower(), peer_file(self._folder, host, "lock")
        if path is None:
            return True
        file = self._files.get(key)
        if file is None:
            file = _File(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640))
        taken = octet in file.ours or _set(file.descriptor, octet, fcntl.F_WRLCK)
        if taken:
            file.ours.add(octet)
        self._keep(key, file)
        return taken

    def _give(self, host: str, *octets: int) -> None:
        key = host.lower()
        file = self._files.get(key)
        if file is None:
            return
        for octet in file.ours.intersection(octets):
            _set(file.descriptor, octet, fcntl.F_UNLCK)
            file.ours.discard(octet)
        self._keep(key, file)

    def _keep(self, key: str, file: _File) -> None:
        """Keep the file open while this worker holds a lock of it."""
        if file.ours:
            self._files[key] = file
        else:
            self._files.pop(key, None)
            os.close(file.descriptor)

    # --- asking

    def taken_elsewhere(self, host: str) -> bool:
        """Whether another worker has the peer."""
        return not self._ours(host, TAKEN) and self._held(host, TAKEN)

    def open_anywhere(self, host: str) -> bool:
        """Whether any worker has an open connection with the peer."""
        return self._ours(host, OPEN) or self._held(host, OPEN)

    def _ours(self, host: str, octet: int) -> bool:
        file = self._files.get(host.lower())
        return file is not None and octet in file.ours

    def _held(self, host: str, octet: int) -> bool:
        path = peer_file(self._folder, host, "lock")
        if path is None or not path.exists():
            return False
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, octet, 1, 0)
            conflicting: int = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, wanted))[0]
        finally:
            os.close(descriptor)
        return conflicting != fcntl.F_UNLCK

    def ask_to_probe(self, host: str) -> None:
        """Ask the worker that has the peer to probe its connection."""
        path = peer_file(self._folder, host, "lock")
        if path is None or self._socket is None:
            return
        with contextlib.suppress(OSError, ValueError):
            holder = path.read_text("ascii")
            if holder:
                self._socket.sendto(host.lower().encode("ascii"), str(self._socket_of(holder)))
