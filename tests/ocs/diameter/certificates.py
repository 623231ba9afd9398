"""For tests of TLS: a certification authority, its certificates, and a Diameter server with TLS."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import trustme

from ocs.settings.diameter import PeerConfig, TlsConfig
from tests.ocs.diameter.site import HOST, Client, Site

PGW, OTHER = "pgw.example.org", "b.example.org"


class Certificates:
    """PEM files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.ca.cert_pem.write_to_path(str(folder / "ca.pem"))
        self.server = self.issue(HOST)

    def issue(self, name: str, ca: trustme.CA | None = None, **more: Any) -> tuple[str, str]:
        leaf = (ca or self.ca).issue_cert(name, **more)
        chain, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        chain.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(key))
        return str(chain), str(key)

    @property
    def config(self) -> TlsConfig:
        return TlsConfig(*self.server, str(self.folder / "ca.pem"))

    def renew(self) -> None:
        """Replaces the authority, and the server's certificate by one that it has signed."""
        self.ca = trustme.CA()
        self.ca.cert_pem.write_to_path(str(self.folder / "ca.pem"))
        self.server = self.issue(HOST)

    def client(self, name: str = PGW, ca: trustme.CA | None = None, **more: Any) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        context.load_cert_chain(*self.issue(name, ca, **more))
        return context


async def tls_client(site: Site, context: ssl.SSLContext) -> Client:
    address = site.servers[-1].listening_tls[0]
    client = Client(*await asyncio.open_connection(*address, ssl=context, server_hostname=HOST))
    site.clients.append(client)
    return client


async def tls_site(site: Site, certificates: Certificates, **changes: Any) -> None:
    peers = changes.pop("peers", (PeerConfig(PGW, tls=True), PeerConfig(OTHER)))
    await site.server(peers=peers, listen_tls=(("127.0.0.1", 0),), tls=certificates.config, **changes)
