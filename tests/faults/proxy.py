"""A TCP proxy that can hold back a server's answers (Redis has done the work, the client does not know), or cut the
network.
"""

from __future__ import annotations

import contextlib
import socket
import threading


class Proxy:
    """Listens on its own port; threads forward the octets."""

    def __init__(self, upstream_port: int) -> None:
        self.upstream_port = upstream_port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.marker = b""
        self.held = threading.Event()
        """Set when the answer to a request with the marker was swallowed."""
        self.dark = threading.Event()
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def hold_answers_to(self, marker: bytes) -> None:
        """After a request with these octets, nothing more is forwarded back on its connection."""
        self.held.clear()
        self.marker = marker

    def let_pass(self) -> None:
        self.marker = b""

    def cut(self) -> None:
        """Forwards nothing in either direction; connections stay open."""
        self.dark.set()

    def heal(self) -> None:
        """Restores the network; earlier connections stay dead."""
        for each in self._sockets:
            _end(each)
        self.dark.clear()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            upstream = socket.create_connection(("127.0.0.1", self.upstream_port))
            self._sockets += [client, upstream]
            mute = threading.Event()
            threading.Thread(target=self._requests, args=(client, upstream, mute), daemon=True).start()
            threading.Thread(target=self._answers, args=(upstream, client, mute), daemon=True).start()

    def _requests(self, client: socket.socket, upstream: socket.socket, mute: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self.marker and self.marker in data:
                    mute.set()
                if not self.dark.is_set():
                    upstream.sendall(data)
        _end(upstream)

    def _answers(self, upstream: socket.socket, client: socket.socket, mute: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := upstream.recv(65536):
                if mute.is_set():
                    self.held.set()
                elif not self.dark.is_set():
                    client.sendall(data)
        _end(client)

    def close(self) -> None:
        self.listener.close()
        for each in self._sockets:
            _end(each)
            each.close()


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
