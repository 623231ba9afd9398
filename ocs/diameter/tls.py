"""TLS before the capabilities exchange (RFC 6733 §2.2, §13), with certificates on both sides. A certificate's DNS name
must be the Origin-Host.

TLS 1.3, or 1.2 with forward secrecy and AEAD. Changed files are reloaded and used for new connections, so certificates
may be short-lived. If new files cannot be used, the old certificates stay.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Any

from ocs.settings.diameter import TlsConfig
from ocs.values.text import MAX_LISTED

logger = logging.getLogger(__name__)

CIPHERS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Ciphers of TLS 1.2; all of TLS 1.3 are acceptable (RFC 9325)."""
LOOK_EVERY_S = 10.0
"""How often the files are checked for changes."""


class TlsMaterial:
    """TLS contexts for incoming and outgoing connections. OSError (ssl.SSLError is one): the files cannot be used."""

    def __init__(self, config: TlsConfig) -> None:
        self._config = config
        self._seen = self._times()
        self.server, self.client = self._load()
        """Each handshake uses the current context. TLS sessions belong to their context and cannot be resumed after a
        reload, so a peer that is no longer trusted cannot connect by an old session.
        """

    def reload(self) -> bool:
        """Read the files again. False if they cannot be used; the old certificates stay."""
        self._seen = self._times()
        try:
            self.server, self.client = self._load()
        except OSError as error:
            logger.error(
                "%s: the new TLS certificates cannot be used, the old ones stay: %s", self._config.certificate, error
            )
            return False
        logger.info("TLS certificates reloaded")
        return True

    def look(self) -> None:
        """Reload if a file has changed."""
        if self._times() != self._seen:
            self.reload()

    def _files(self) -> list[str]:
        config = self._config
        return [name for name in (config.certificate, config.key, config.ca, config.crl) if name]

    def _times(self) -> list[tuple[int, int]]:
        found = []
        for name in self._files():
            try:
                status = Path(name).stat()
            except OSError:
                found.append((0, 0))
            else:
                found.append((status.st_mtime_ns, status.st_ino))
        return found

    def _load(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        server = self._context(ssl.PROTOCOL_TLS_SERVER)
        server.options |= ssl.OP_NO_TICKET  # TLS 1.2
        server.num_tickets = 0  # TLS 1.3
        return server, self._context(ssl.PROTOCOL_TLS_CLIENT)

    def _context(self, protocol: int) -> ssl.SSLContext:
        config = self._config
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS_1_2)
        context.load_cert_chain(config.certificate, config.key)
        context.load_verify_locations(config.ca)
        if config.crl:
            context.load_verify_locations(config.crl)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        context.verify_mode = ssl.CERT_REQUIRED
        return context


class PeerCertificate:
    """The certificate of the peer at the other end of a TLS connection."""

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        certificate: dict[str, Any] = transport.get_extra_info("peercert") or {}
        self.names = frozenset(value.lower() for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS")
        ends = certificate.get("notAfter")
        self.expires_at: float = ssl.cert_time_to_seconds(ends) if ends else float("inf")
        """Unix seconds."""

    @property
    def some_names(self) -> list[str]:
        return sorted(self.names)[:MAX_LISTED]

    def is_of(self, origin_host: str) -> bool:
        return origin_host.lower() in self.names
