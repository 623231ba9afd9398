"""The composition root: builds objects from the settings. The clock and the random source are created only here."""

from __future__ import annotations

import mmap
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ocs.catalogue.catalogue import Catalogue
from ocs.catalogue.problems import CatalogueError, Problem
from ocs.catalogue.versions import Catalogues, load_versions
from ocs.ledger.settings import LedgerSettings
from ocs.settings.dialects import contexts_of, tolerance_of
from ocs.settings.diameter import DiameterConfig, PeerConfig
from ocs.settings.loading import Mistake, SettingsError, load_settings
from ocs.settings.schema import PeerSection, Settings, parse_listen

if TYPE_CHECKING:
    from ocs.telemetry.otlp_traces import OtlpTraces

EMBEDDED_TAKES_NO_REPLICAS = (
    'ledger.durability = "replicated" needs a Redis with replicas: set redis.url (OCS_REDIS_URL)'
)


class StartError(Exception):
    """The server or a command cannot start; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Clock and random source, passed down to all other modules. Tests pass their own."""

    clock: Callable[[], float] = time.time
    """Unix seconds."""
    monotonic: Callable[[], float] = time.monotonic
    """Monotonic seconds; only differences mean something."""
    rng: random.Random = field(default_factory=random.SystemRandom)

    def now(self) -> int:
        return int(self.clock())

    def entropy(self) -> int:
        """64 random bits: the part of an account id that cannot be guessed."""
        return self.rng.getrandbits(64)

    def below(self, limit: int) -> int:
        """A random whole number from 0 to `limit` - 1 that cannot be guessed."""
        return self.rng.randrange(limit)


class SimulatedClock:
    """The time that a simulator writes to a file: microseconds since 1970, a signed integer of eight octets in this
    machine's byte order. All processes of a server see it at once. StartError: the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                self._octets = memoryview(mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)).cast("q")
        except (OSError, ValueError) as error:
            raise StartError(f"server.simulated_clock = {str(path)!r}: cannot be used: {error}") from error

    def __call__(self) -> float:
        return self._octets[0] / 1_000_000


def environment_of(settings: Settings) -> Environment:
    """The machine's clock, or the simulated one of the settings. Monotonic time is real in any case: pauses, timeouts
    and watchdogs go on when a simulated clock stands still.
    """
    simulated = settings.server.simulated_clock
    return Environment(clock=SimulatedClock(Path(simulated))) if simulated else Environment()


@dataclass(frozen=True, slots=True)
class Paths:
    """Files and folders in the data folder."""

    data_dir: Path

    @property
    def metrics(self) -> Path:
        return self.data_dir / "metrics"

    @property
    def records(self) -> Path:
        return self.data_dir / "records"

    @property
    def disclosures(self) -> Path:
        """One JSON line for each export with unmasked numbers: who, why, what."""
        return self.data_dir / "disclosures.jsonl"

    @property
    def reconciliation(self) -> Path:
        """Metrics of the last reconciliation with the host's usage file."""
        return self.data_dir / "reconciliation.json"

    @property
    def lost_events(self) -> Path:
        """Ids of recorded events that the ledger lost (`ocs.outbox.lost_events`)."""
        return self.data_dir / "lost-events.jsonl"

    @property
    def notices(self) -> Path:
        """File of the port "log"."""
        return self.data_dir / "notices.jsonl"

    @property
    def peers(self) -> Path:
        """Lock files by which the workers agree on one connection per peer."""
        return self.data_dir / "peers"

    @property
    def ported_numbers(self) -> Path:
        """Copy of the last file of ported numbers without mistakes."""
        return self.data_dir / "ported-numbers.csv"

    @property
    def lock(self) -> Path:
        return self.data_dir / "serve.lock"

    @property
    def description(self) -> Path:
        """JSON with the process id and addresses of a running server; absent when none runs."""
        return self.data_dir / "server.json"


def load(config: Path, *, serves: bool, environment: Environment | None = None) -> tuple[Settings, Catalogues]:
    """Settings and all versions of the catalogue, validated. SettingsError and CatalogueError list all mistakes.
    `serves`: see `load_settings`.
    """
    settings = load_settings(config, serves=serves)
    now = (environment or environment_of(settings)).now
    catalogues = Catalogues(load_versions(Path(settings.server.catalogue)), now)
    first = catalogues.versions[0]
    if serves and first.begins_at > catalogues.now():
        allowed = f"version {first.version} is the first, and begins in the future: no prices are in force until then"
        raise CatalogueError([Problem(settings.server.catalogue, "catalogue.valid_from", "", allowed)])
    for version in catalogues.versions:
        check_services(config, settings, version)
    return settings, catalogues


def check_services(config: Path, settings: Settings, catalogue: Catalogue) -> None:
    """SettingsError: the settings name a service that this version of the catalogue lacks."""
    known = ", ".join(catalogue.services)
    allowed = f"there is no such service in version {catalogue.version} of the catalogue; there are {known}"
    mistakes = [
        Mistake(str(config), f"profile.{name}.final_unit_of", service, allowed)
        for name, profile in settings.profile.items()
        for service in profile.final_unit_of
        if service not in catalogue.services
    ]
    if mistakes:
        raise SettingsError(mistakes)


def _peer_config(settings: Settings, peer: PeerSection) -> PeerConfig:
    config = peer.config(settings.profile_named(peer.profile), settings.diameter.listen)
    # With `tls = "either"` we connect over TLS if we have a certificate. If `tls` is absent and the peer is on
    # loopback, we connect over plain TCP.
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


def voucher_key(settings: Settings) -> bytes | None:
    """The operator's key of vouchers; None = the ledger has its own. StartError: the file cannot be used."""
    if not settings.vouchers.key_file:
        return None
    path = Path(settings.vouchers.key_file)
    try:
        if path.stat().st_mode & 0o077:
            raise StartError(f"vouchers.key_file = {path}: others than its owner may read it: chmod 600")
        key = path.read_bytes()
    except OSError as error:
        raise StartError(f"vouchers.key_file = {path}: {error.strerror}") from error
    if not 32 <= len(key) <= 4096:
        raise StartError(f"vouchers.key_file = {path}: has {len(key)} octets; it must have 32 to 4096")
    return key


def check_tracing(settings: Settings) -> None:
    """StartError: tracing is on, and its packages are not installed."""
    if settings.tracing.endpoint:
        otlp_traces()


def otlp_traces() -> type[OtlpTraces]:
    """Imported only where tracing is on. StartError: it cannot be."""
    try:
        from ocs.telemetry.otlp_traces import OtlpTraces
    except ModuleNotFoundError as error:
        raise StartError(
            f"tracing.endpoint is set, and the package {error.name} is not installed: pip install 'ocs[tracing]', or "
            "leave the endpoint empty"
        ) from error
    return OtlpTraces


def worker_count(settings: Settings) -> int:
    """Default: one less than the cores, at least 1; the last core is for Redis and the housekeeper."""
    return settings.server.workers or max(len(os.sched_getaffinity(0)) - 1, 1)
