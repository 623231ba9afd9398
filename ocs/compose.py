"""The composition root: settings become objects here, and here alone the clock and the random source are read."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ocs.catalogue.catalogue import Catalogue, load_catalogue
from ocs.ledger.settings import LedgerSettings
from ocs.settings.dialects import contexts_of, tolerance_of
from ocs.settings.diameter import DiameterConfig, PeerConfig
from ocs.settings.loading import Mistake, SettingsError, load_settings
from ocs.settings.schema import PeerSection, Settings, parse_listen

EMBEDDED_TAKES_NO_REPLICAS = (
    'ledger.durability = "replicated" needs a Redis of its own with replicas: set redis.url (OCS_REDIS_URL)'
)


class StartError(Exception):
    """The server or a command cannot start; the message is for people."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Time and chance, as everything below is given them. Tests make their own."""

    clock: Callable[[], float] = time.time
    """Unix seconds."""
    monotonic: Callable[[], float] = time.monotonic
    """Seconds that never jump, finer than an event loop's own."""
    rng: random.Random = field(default_factory=random.SystemRandom)

    def now(self) -> int:
        return int(self.clock())

    def entropy(self) -> int:
        """The unguessable part of an account id."""
        return self.rng.getrandbits(64)


@dataclass(frozen=True, slots=True)
class Paths:
    """What lies where in the data folder."""

    data_dir: Path

    @property
    def metrics(self) -> Path:
        return self.data_dir / "metrics"

    @property
    def records(self) -> Path:
        return self.data_dir / "records"

    @property
    def peers(self) -> Path:
        """Where workers agree on one connection a peer."""
        return self.data_dir / "peers"

    @property
    def lock(self) -> Path:
        return self.data_dir / "serve.lock"

    @property
    def description(self) -> Path:
        """While a server runs: its process id and where it listens, as JSON."""
        return self.data_dir / "server.json"


def load(config: Path, *, serves: bool) -> tuple[Settings, Catalogue]:
    """Settings and catalogue, both checked whole. SettingsError, CatalogueError: every mistake in them. `serves`: as of
    `load_settings`.
    """
    settings = load_settings(config, serves=serves)
    catalogue = load_catalogue(Path(settings.server.catalogue))
    _check_services(config, settings, catalogue)
    return settings, catalogue


def _check_services(config: Path, settings: Settings, catalogue: Catalogue) -> None:
    """What the settings say of services of the catalogue is of services that there are."""
    there_are = f"there is no such service in the catalogue; there are {', '.join(catalogue.services)}"
    mistakes = [
        Mistake(str(config), f"profile.{name}.final_unit_of", service, there_are)
        for name, profile in settings.profile.items()
        for service in profile.final_unit_of
        if service not in catalogue.services
    ]
    if mistakes:
        raise SettingsError(mistakes)


def _peer_config(settings: Settings, peer: PeerSection) -> PeerConfig:
    config = peer.config(settings.profile_named(peer.profile), settings.diameter.listen)
    # Only `tls = "either"` means TLS where we can; absent, it is plain TCP where all is loopback.
    return replace(config, call_tls=peer.tls == "either" and bool(settings.tls.certificate))


def diameter_config(settings: Settings) -> DiameterConfig:
    diameter = settings.diameter
    return DiameterConfig(
        origin_host=diameter.identity,
        realm=diameter.realm,
        listen=tuple(parse_listen(each) for each in diameter.listen),
        listen_tls=tuple(parse_listen(each) for each in diameter.listen_tls),
        tls=settings.tls.config(),
        realms=tuple(diameter.realms),
        hosts=tuple(diameter.hosts),
        peers=tuple(_peer_config(settings, peer) for peer in settings.peer),
        service_contexts=contexts_of(settings.charging.service_contexts),
        tolerated=tolerance_of(diameter.tolerate_avps),
        accept_unknown_peers=diameter.accept_unknown_peers,
        unknown_profile=settings.profile_named("standard"),
        watchdog_s=diameter.watchdog_s,
        reconnect_s=diameter.reconnect_s,
        cer_timeout_s=diameter.cer_timeout_s,
        max_message_octets=diameter.max_message_octets,
        max_avps=diameter.max_avps,
        max_services=diameter.max_services,
        max_connections=diameter.max_connections,
        max_pending_connections=diameter.max_pending_connections,
        max_connections_per_address=diameter.max_connections_per_address,
        max_in_flight_per_peer=diameter.max_in_flight_per_peer,
        max_in_flight=diameter.max_in_flight,
        answer_timeout_ms=diameter.answer_timeout_ms,
        locks=str(Paths(settings.data_dir).peers),
    )


def ledger_settings(settings: Settings) -> LedgerSettings:
    ledger = settings.ledger
    return LedgerSettings(
        durability=ledger.durability,
        partitions=ledger.partitions,
        timeout_ms=ledger.timeout_ms,
        remember_sessions_s=ledger.remember_sessions_s,
        remember_events_s=ledger.remember_events_s,
        replicas=ledger.replicas,
        max_clock_skew_s=ledger.max_clock_skew_s,
    )


def worker_count(settings: Settings) -> int:
    """Default: cores - 1, at least 1: Redis and the housekeeper need one too."""
    return settings.server.workers or max(len(os.sched_getaffinity(0)) - 1, 1)
