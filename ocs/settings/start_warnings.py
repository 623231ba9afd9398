"""Warnings at start about settings that are valid but probably not intended. Invalid ones stop the start
(`ocs.settings.schema`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from ocs.settings.base import is_loopback
from ocs.settings.loading import DEFAULTS, unknown_sections
from ocs.settings.schema import Settings
from ocs.values.text import listed

log = logging.getLogger(__name__)


def log_start_warnings(config: Path, settings: Settings) -> None:
    """Log the files in use and all warnings; called once per server."""
    log.info(
        "settings %s, catalogue %s, data folder %s",
        *(config.absolute(), Path(settings.server.catalogue).absolute(), settings.data_dir.absolute()),
    )
    for text in start_warnings(settings, os.environ):
        log.warning("%s", text)


def start_warnings(settings: Settings, environment: Mapping[str, str]) -> list[str]:
    """One sentence per warning; each names the key."""
    return [
        *_unknown_variables(environment),
        *_example_catalogue(settings),
        *_unreachable_peers(settings),
        *_open_notices(settings),
        *_simulated_clock(settings),
    ]


def _unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    for name in unknown_sections(environment):
        yield f"environment variable {name} is not a setting of ocs and is ignored"


def _example_catalogue(settings: Settings) -> Iterator[str]:
    if Path(settings.server.catalogue).parent == DEFAULTS:
        yield (
            "server.catalogue is not set and there is no catalogue.toml beside the settings: the catalogue that "
            "comes with ocs is used, and its prices are examples"
        )


def _unreachable_peers(settings: Settings) -> Iterator[str]:
    """Peers that must connect over TLS, or over plain TCP, for which we do not listen."""
    plain, secured = settings.diameter.listen, settings.diameter.listen_tls
    waiting = [peer for peer in settings.peer if not peer.connect]
    without_tls = [peer.origin_host for peer in waiting if peer.needs_tls(plain) and not secured]
    if without_tls:
        yield (
            f"{listed(without_tls)} must connect over TLS, but no address is open for it: "
            'set diameter.listen_tls and [tls], or peer.tls = "forbidden" for plain TCP'
        )
    without_plain = [peer.origin_host for peer in waiting if peer.needs_tls(plain) is False and not plain]
    if without_plain:
        yield (
            f"{listed(without_plain)} must connect over plain TCP (peer.tls), but no address is open for it: "
            "set diameter.listen"
        )


def _open_notices(settings: Settings) -> Iterator[str]:
    """Texts and numbers that leave unsigned, or in clear."""
    notices = settings.notices
    if notices.port != "webhook":
        return
    if not notices.secret:
        yield "notices.secret is not set: the SMS gateway cannot know our requests, and its receipts are refused"
    address = urlsplit(notices.url)
    if address.scheme == "http" and not is_loopback(address.hostname or ""):
        yield "notices.url is http: numbers and texts of subscribers leave in clear; use https"


def _simulated_clock(settings: Settings) -> Iterator[str]:
    if settings.server.simulated_clock:
        yield "server.simulated_clock is set: the time is what a simulator says; never for real subscribers"
