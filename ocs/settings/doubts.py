"""What may be as it is meant, or not: said at the start, which goes on. (What cannot be meant stops it:
ocs/settings/schema.py.)
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ocs.settings.loading import DEFAULTS, unknown_sections
from ocs.settings.schema import Settings
from ocs.values.text import listed

log = logging.getLogger(__name__)


def tell(config: Path, settings: Settings) -> None:
    """To the log, once a server: what it runs on, and what somebody should look at."""
    log.info(
        "settings %s, catalogue %s, data folder %s",
        *(config.absolute(), Path(settings.server.catalogue).absolute(), settings.data_dir.absolute()),
    )
    for doubt in doubts(settings, os.environ):
        log.warning("%s", doubt)


def doubts(settings: Settings, environment: Mapping[str, str]) -> list[str]:
    """Each in a sentence that names the key."""
    return [*_variables(environment), *_catalogue(settings), *_peers_without_a_port(settings)]


def _variables(environment: Mapping[str, str]) -> Iterator[str]:
    for name in unknown_sections(environment):
        yield f"environment variable {name} is no setting of ocs and is ignored"


def _catalogue(settings: Settings) -> Iterator[str]:
    if Path(settings.server.catalogue).parent == DEFAULTS:
        yield (
            "server.catalogue names none and there is none beside the settings: the one that comes with ocs "
            "counts, and its prices"
            " are examples"
        )


def _peers_without_a_port(settings: Settings) -> Iterator[str]:
    """Peers that must come to us by a kind of connection that we do not listen for."""
    plain, secured = settings.diameter.listen, settings.diameter.listen_tls
    waiting = [peer for peer in settings.peer if not peer.connect]
    without_tls = [peer.origin_host for peer in waiting if peer.needs_tls(plain) and not secured]
    if without_tls:
        yield (
            f"{listed(without_tls)} must come over TLS, and nothing listens for it: set diameter.listen_tls and "
            "[tls], or"
            ' peer.tls = "forbidden" for plain TCP'
        )
    without_plain = [peer.origin_host for peer in waiting if peer.needs_tls(plain) is False and not plain]
    if without_plain:
        yield (
            f"{listed(without_plain)} must come over plain TCP (peer.tls), and nothing listens for it: "
            "set diameter.listen"
        )
