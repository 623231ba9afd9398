"""State of a peer that all workers of a server share, in a file beside the peer's lock file.

It says that the peer must not be connected to for a while (RFC 6733 §5.4.3), that the watchdog closed its last
connection (RFC 3539 §3.4.1, DOWN), and when we last tried to connect. Only the worker that has the peer, or connects to
it, writes the file, so it has one writer at a time. A file that cannot be read is ignored.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from ocs.diameter.locks import peer_file
from ocs.diameter.peers import UNKNOWN_LABEL, Peer

logger = logging.getLogger(__name__)

AWAY_FACTOR = 10
"""How many Tc we do not connect to a peer after its DPR with BUSY or DO_NOT_WANT_TO_TALK_TO_YOU (§5.4.3)."""

CALL_FACTOR = 0.75
"""Least interval between two attempts to connect, in Tc; less than the shortest interval with jitter."""


@dataclass(frozen=True, slots=True)
class Note:
    """Content of the file."""

    away_until: float = 0.0
    """Unix seconds until which we do not connect to the peer."""
    down: bool = False
    """The watchdog closed the last connection."""
    called_at: float = 0.0
    """Unix seconds of our last attempt to connect."""


NOTHING = Note()


class SharedPeerStates:
    """`folder`: "" = there is only one worker. Nothing is stored about peers that are not configured."""

    def __init__(self, folder: str, unix_clock: Callable[[], float]) -> None:
        self._folder = folder
        self._clock = unix_clock
        self._kept: dict[str, Note] = {}

    def leave_alone(self, peer: Peer, reconnect_s: float) -> None:
        """Do not connect to the peer for AWAY_FACTOR Tc."""
        self._write(peer, replace(self._read(peer), away_until=self._clock() + AWAY_FACTOR * reconnect_s))

    def is_away(self, peer: Peer, reconnect_s: float) -> bool:
        """Whether we must not connect to the peer now. A time too far in the future is ignored: the clock was set back
        after it was written.
        """
        return 0.0 < self._read(peer).away_until - self._clock() <= AWAY_FACTOR * reconnect_s

    def call(self, peer: Peer, reconnect_s: float) -> bool:
        """Whether to connect to the peer now: once a Tc over all workers (RFC 6733 §2.1). True is recorded."""
        note, now = self._read(peer), self._clock()
        if 0.0 <= now - note.called_at < CALL_FACTOR * reconnect_s:
            return False
        self._write(peer, replace(note, called_at=now))
        return True

    def set_down(self, peer: Peer, down: bool) -> None:
        self._write(peer, replace(self._read(peer), down=down))

    def is_down(self, peer: Peer) -> bool:
        return self._read(peer).down

    def _read(self, peer: Peer) -> Note:
        path = peer_file(self._folder, peer.origin_host, "note")
        if path is None:
            return self._kept.get(peer.origin_host, NOTHING)
        try:
            found = json.loads(path.read_text("ascii"))
            return Note(float(found["away_until"]), bool(found["down"]), float(found.get("called_at", 0.0)))
        except FileNotFoundError:
            return NOTHING
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("peer %s: %s cannot be read, so its saved state is ignored: %s", peer.label, path, error)
            return NOTHING

    def _write(self, peer: Peer, note: Note) -> None:
        if peer.label == UNKNOWN_LABEL:
            return
        path = peer_file(self._folder, peer.origin_host, "note")
        if path is None:
            self._kept[peer.origin_host] = note
            return
        try:
            fresh = path.with_suffix(f".{os.getpid()}")
            fresh.write_text(json.dumps(asdict(note)), "ascii")
            fresh.replace(path)
        except OSError as error:
            logger.warning(
                "peer %s: %s cannot be written, so other workers do not know its state: %s",
                *(peer.label, path, error),
            )
