"""What the workers of a server must know of a peer whichever of them had it last; kept beside the peers' locks.

That it does not want to be called (RFC 6733 §5.4.3), that its last connection was cut for its silence (RFC 3539 §3.4.1,
DOWN), and when we called it last. Only the worker that has the peer, or calls it, writes, so a note has one writer at a
time. A note that cannot be read says nothing.
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
"""A peer that has said BUSY or DO_NOT_WANT_TO_TALK_TO_YOU is left alone for so many Tc (§5.4.3)."""

CALL_FACTOR = 0.75
"""Calls are at least so many Tc apart: less than the jitter makes of it."""


@dataclass(frozen=True, slots=True)
class Note:
    away_until: float = 0.0
    """Unix seconds."""
    down: bool = False
    called_at: float = 0.0
    """Unix seconds of our last call."""


NOTHING = Note()


class SharedPeerStates:
    """`folder` "" = this worker is the only one. Peers of the laboratory switch leave no notes."""

    def __init__(self, folder: str, unix_clock: Callable[[], float]) -> None:
        self._folder = folder
        self._clock = unix_clock
        self._kept: dict[str, Note] = {}

    def leave_alone(self, peer: Peer, reconnect_s: float) -> None:
        """Call it no more for a while."""
        self._write(peer, replace(self._read(peer), away_until=self._clock() + AWAY_FACTOR * reconnect_s))

    def is_away(self, peer: Peer, reconnect_s: float) -> bool:
        """A time further off than we ever write was written before the clock was set back."""
        return 0.0 < self._read(peer).away_until - self._clock() <= AWAY_FACTOR * reconnect_s

    def call(self, peer: Peer, reconnect_s: float) -> bool:
        """Whether to call it now: it is called once a Tc, by whichever worker (RFC 6733 §2.1)."""
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
            logger.warning(
                "peer %s: %s cannot be read, so it counts as one that never came: %s", peer.label, path, error
            )
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
                "peer %s: %s cannot be written, so other workers do not know what it asked for: %s",
                *(peer.label, path, error),
            )
