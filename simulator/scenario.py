"""A scenario file: subscribers, traffic, places and faults. It is read and checked as a whole."""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from simulator.acts import Act, PlannedDisturbance
from simulator.clocks import SLACK_S
from simulator.days import Days, Rhythm, read_days, read_rhythm, read_time
from simulator.distributions import ALWAYS, Curve, Distribution, ScenarioError, number, read_curve
from simulator.journeys import NO_RADIO, RAT_TYPES, Journey, Radio
from simulator.network import DIRECT, Network, read_network
from simulator.requests import Element, Place
from simulator.scenario_people import (
    Habit,
    read_acts,
    read_disturbances,
    read_habits,
    read_journeys,
    read_radio,
)
from simulator.scenario_tables import (
    distribution_of,
    names_of,
    one_of,
    positive_of,
    rows_of,
    share_of,
    table_of,
    text_of,
    weights_of,
)

MAX_SUBSCRIBERS = 1_000_000
MAX_BASES = 8
KEYS = (
    *("accounts", "act", "base", "begins", "curve", "disturbance", "duration_s", "failover", "faults", "habit"),
    *("holidays", "intensity", "journey", "name", "network", "place", "price_list", "radio", "restart", "service"),
    *("slack_s", "speed", "subscribers", "time_zone"),
)
ACCOUNT_KEYS = ("credit", "first_imsi", "first_msisdn", "opened_over_days", "packages", "second_sim_share")
FAULT_KEYS = ("dead_sessions", "ignored_requests", "lost_answers", "unanswered_requests")
SHIPPED = files("simulator") / "scenarios"
KINDS = ("data", "voice", "sms", "mms")
FORWARDING_MODES = {"cfu": 0, "cfb": 1, "cfnr": 2, "cfnl": 3, "cd": 4, "cfnrc": 5}
"""Service-Mode of communication diversion (TS 32.299 §7.2.196A)."""


@dataclass(frozen=True, slots=True)
class CreditGroup:
    """A share of the accounts: their credit after the package is paid, and their spending limit."""

    share: float
    eur: Distribution
    limit_eur: str = ""
    package: str = ""
    """Their package; "" = drawn like everybody's."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Numbers of one class of the catalogue; "#" in the pattern is a random digit."""

    destination_class: str
    pattern: str


@dataclass(frozen=True, slots=True)
class RatingGroupUse:
    rating_group: int
    service: str
    """The catalogue's service."""
    quantity: Distribution
    """Octets."""


@dataclass(frozen=True, slots=True)
class ServiceTraffic:
    """Traffic of one service: frequency, duration, volume and network elements."""

    name: str
    kind: str
    """"data", "voice", "sms" or "mms"."""
    elements: tuple[tuple[float, Element], ...]
    per_subscriber_hour: float
    duration_s: Distribution | None = None
    quantity: Distribution | None = None
    rating_groups: tuple[tuple[float, RatingGroupUse], ...] = ()
    second_group_share: float = 0.0
    """Share of data sessions that use two rating groups at once."""
    destinations: tuple[tuple[float, Destination], ...] = ()
    incoming_share: float = 0.0
    two_step_share: float = 0.0
    """Share of messages charged with INITIAL and TERMINATION (ECUR) instead of one event (IEC)."""
    size_octets: Distribution | None = None
    curve: Curve = ALWAYS
    """How per_subscriber_hour changes over the run."""
    daily_at: datetime.time | None = None
    """Instead of per_subscriber_hour: once a day, from this time on …"""
    within_s: float = 0.0
    """… at a random time within these seconds."""
    habits: tuple[str, ...] = ()
    """Only subscribers with these habits use it; () = all."""
    forwarding: tuple[tuple[float, int], ...] = ()
    """Service-Modes by share: a call that the subscriber forwards to another subscriber (HOT-RAT-7)."""


@dataclass(frozen=True, slots=True)
class PriceChange:
    """Another version of the price list."""

    begins: datetime.datetime
    """Local time."""
    micro_eur: Mapping[str, int]
    """Price of the catalogue → its amount in this version; all others stay."""


@dataclass(frozen=True, slots=True)
class Faults:
    lost_answers: float
    """Share of answers that are lost; the request is repeated with the T flag."""
    dead_sessions: float
    """Share of sessions that end without CCR-T."""
    ignored_requests: float = 0.0
    """Share of sessions that answer RAR and ASR and do nothing."""
    unanswered_requests: float = 0.0
    """Share of sessions that do not answer RAR and ASR."""


@dataclass(frozen=True, slots=True)
class Restart:
    """An element loses its sessions, without a TERMINATION, and opens them again."""

    element: Element
    at_s: float
    again_within_s: float
    """The sessions open again at random times within these simulated seconds."""


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    subscribers: int
    duration_s: float
    speed: float
    first_msisdn: int
    first_imsi: int
    packages: tuple[tuple[float, str], ...]
    credit_groups: tuple[tuple[float, CreditGroup], ...]
    places: tuple[tuple[float, Place], ...]
    services: tuple[ServiceTraffic, ...]
    faults: Faults
    restarts: tuple[Restart, ...] = ()
    days: Days | None = None
    """None = the run has no date, and begins when it is played."""
    named_places: Mapping[str, Place] | None = None
    habits: tuple[Habit, ...] = ()
    journeys: tuple[Journey, ...] = ()
    radio: Radio = NO_RADIO
    acts: tuple[Act, ...] = ()
    disturbances: tuple[PlannedDisturbance, ...] = ()
    pool_share: float = 0.0
    """Of the accounts: a second SIM of the subscriber before, whose units it shares (HOT-PKG-14)."""
    opened_over_days: int = 0
    """The accounts were opened evenly over so many days before the run; their periods end accordingly."""
    price_changes: tuple[PriceChange, ...] = ()
    network: Network = DIRECT
    slack_s: float = SLACK_S
    """Simulated seconds that may pass while an answer is awaited (`TurnedClock`); 0 = none, where a second matters."""
    intensity: float = 1.0
    """All services are used so often as they say, times this: a long run may show the same life with less traffic."""


def load_scenario(name: str | Path) -> Scenario:
    """From a file, or a shipped scenario by its name ("busy_hour"). Raises ScenarioError."""
    table = _read(name)
    try:
        return _scenario(table)
    except ScenarioError as error:
        raise ScenarioError(f"{name}: {error}") from error


def _read(name: str | Path, depth: int = 0) -> dict[str, Any]:
    """The file's tables; with `base`, those of another scenario, of which this file's take the place."""
    if depth > MAX_BASES:
        raise ScenarioError(f"{name}: more than {MAX_BASES} scenarios, each with the next as its base")
    path = Path(name)
    if not path.exists():
        shipped = SHIPPED / f"{path.stem}.toml"
        if not shipped.is_file():
            names = ", ".join(sorted(each.name.removesuffix(".toml") for each in SHIPPED.iterdir()))
            raise ScenarioError(f"there is no scenario file {path}; shipped are {names}")
        text = shipped.read_text("utf-8")
    else:
        text = _text(path)
    try:
        table = tomllib.loads(text)
        _check_keys(table)
    except (tomllib.TOMLDecodeError, ScenarioError) as error:
        raise ScenarioError(f"{path}: {error}") from error
    if "base" not in table:
        return table
    base = _read(text_of(table, "base", "scenario"), depth + 1)
    return {**base, **{key: value for key, value in table.items() if key != "base"}}


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path}: is no text ({error})") from error


def _check_keys(table: Mapping[str, object]) -> None:
    """A key of another spelling would do nothing. Raises ScenarioError."""
    for where, value, allowed in (
        ("scenario", table, KEYS),
        ("accounts", table.get("accounts"), ACCOUNT_KEYS),
        ("faults", table.get("faults"), FAULT_KEYS),
    ):
        unknown = sorted(set(value) - set(allowed)) if isinstance(value, dict) else []
        if unknown:
            raise ScenarioError(f"{where}.{unknown[0]} is not known; there are {', '.join(sorted(allowed))}")


def _scenario(table: Mapping[str, object]) -> Scenario:
    accounts = table_of(table, "accounts", "")
    faults = table_of(table, "faults", "")
    subscribers = int(number(table, "subscribers", "scenario"))
    if not 1 <= subscribers <= MAX_SUBSCRIBERS:
        raise ScenarioError(f"scenario.subscribers is {subscribers}; it must be 1 to {MAX_SUBSCRIBERS}")
    duration_s = positive_of(table, "duration_s", "scenario")
    days = read_days(table, duration_s)
    packages = weights_of(accounts, "packages", "accounts")
    places = [_place(row, index) for index, row in rows_of(table, "place", "")]
    named = {name: place for name, _, place in places}
    services = [row for _, row in rows_of(table, "service", "")]
    habits = read_habits(table, [name for _, name in packages], [str(row.get("name")) for row in services])
    journeys = read_journeys(table, tuple(named))
    read_service = partial(_service, _Rhythms(table, days), tuple(habit.name for habit in habits))
    return Scenario(
        name=str(table.get("name", "")),
        subscribers=subscribers,
        duration_s=duration_s,
        speed=positive_of(table, "speed", "scenario"),
        first_msisdn=int(number(accounts, "first_msisdn", "accounts")),
        first_imsi=int(number(accounts, "first_imsi", "accounts")),
        packages=packages,
        credit_groups=tuple(
            (group.share, group)
            for group in (_credit(row, index) for index, row in rows_of(accounts, "credit", "accounts"))
        ),
        places=tuple((share, place) for _, share, place in places),
        services=tuple(read_service(row, index) for index, row in enumerate(services)),
        faults=Faults(
            *(share_of(faults, name, "faults") for name in ("lost_answers", "dead_sessions")),
            *(share_of(faults, name, "faults") for name in ("ignored_requests", "unanswered_requests")),
        ),
        restarts=tuple(_restart(row, index) for index, row in rows_of(table, "restart", "", needed=False)),
        days=days,
        named_places=named,
        habits=habits,
        journeys=journeys,
        radio=read_radio(table),
        acts=read_acts(table, tuple(name for _, name in packages), tuple(journey.name for journey in journeys)),
        disturbances=read_disturbances(table),
        pool_share=share_of(accounts, "second_sim_share", "accounts"),
        opened_over_days=int(number(accounts, "opened_over_days", "accounts", default=0.0)),
        slack_s=number(table, "slack_s", "scenario", default=SLACK_S),
        intensity=number(table, "intensity", "scenario", default=1.0),
        price_changes=tuple(_price_change(row, n) for n, row in rows_of(table, "price_list", "", needed=False)),
        network=read_network(table),
    )


class _Rhythms:
    """The tables [curve.NAME], as curves of this run."""

    def __init__(self, table: Mapping[str, object], days: Days | None) -> None:
        rows = table.get("curve", {})
        if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
            raise ScenarioError("curve must have tables [curve.NAME]")
        self._rhythms: dict[str, Rhythm] = {name: read_rhythm(row, f"curve.{name}") for name, row in rows.items()}
        self._days = days

    def curve(self, value: object, where: str) -> Curve:
        if not isinstance(value, str):
            return read_curve(value, where)
        if value not in self._rhythms:
            raise ScenarioError(f"{where} is {value!r}; there are {', '.join(self._rhythms) or 'no [curve.NAME]'}")
        if self._days is None:
            raise ScenarioError(f"{where} is by hour of the day: the scenario must say when it begins")
        return self._rhythms[value].curve(self._days)


def _price_change(row: Mapping[str, object], index: int) -> PriceChange:
    where = f"price_list[{index}]"
    begins = row.get("begins")
    if not isinstance(begins, datetime.datetime) or begins.tzinfo is not None:
        raise ScenarioError(f"{where}.begins is {begins}; it must be a local date and time")
    return PriceChange(begins, {key: int(amount) for amount, key in weights_of(row, "micro_eur", where)})


def _restart(row: Mapping[str, object], index: int) -> Restart:
    where = f"restart[{index}]"
    element = text_of(row, "element", where)
    if element not in tuple(Element):
        raise ScenarioError(f"{where}.element is {element!r}; it must be one of {', '.join(Element)}")
    return Restart(Element(element), positive_of(row, "at_s", where), number(row, "again_within_s", where))


def _credit(row: Mapping[str, object], index: int) -> CreditGroup:
    where = f"accounts.credit[{index}]"
    limit, package = str(row.get("limit_eur", "")), str(row.get("package", ""))
    return CreditGroup(number(row, "share", where), distribution_of(row, "eur", where), limit, package)


def _place(row: Mapping[str, object], index: int) -> tuple[str, float, Place]:
    """(name, share, place); the name of one without a name is its id."""
    where = f"place[{index}]"
    place = Place(text_of(row, "id", where), text_of(row, "plmn", where), text_of(row, "switch", where))
    rat = RAT_TYPES[one_of(row, "rat", where, tuple(RAT_TYPES))] if "rat" in row else place.rat
    cell = int(number(row, "cell", where, default=place.cell))
    place = replace(place, cell=cell, rat=rat, switch_id=str(row.get("switch_id", "")))
    return str(row.get("name", place.id)), number(row, "share", where), place


def _service(rhythms: _Rhythms, habits: tuple[str, ...], row: Mapping[str, object], index: int) -> ServiceTraffic:
    where = f"service[{index}]"
    name = text_of(row, "name", where)
    groups = tuple(
        (
            number(group, "share", f"{where}.rating_group[{at}]"),
            RatingGroupUse(
                int(number(group, "id", f"{where}.rating_group[{at}]")),
                text_of(group, "service", f"{where}.rating_group[{at}]"),
                distribution_of(group, "octets", f"{where}.rating_group[{at}]"),
            ),
        )
        for at, group in rows_of(row, "rating_group", where, needed=False)
    )
    destinations = tuple(
        (
            number(target, "share", f"{where}.destination[{at}]"),
            Destination(
                text_of(target, "class", f"{where}.destination[{at}]"),
                text_of(target, "number", f"{where}.destination[{at}]"),
            ),
        )
        for at, target in rows_of(row, "destination", where, needed=False)
    )
    elements = table_of(row, "elements", where)
    try:
        shares = tuple((number(elements, name, f"{where}.elements"), Element(name)) for name in elements)
    except ValueError:
        raise ScenarioError(f"{where}.elements must be of {', '.join(Element)}, not {', '.join(elements)}") from None
    daily_at = read_time(row["daily_at"], f"{where}.daily_at") if "daily_at" in row else None
    return ServiceTraffic(
        name=name,
        kind=one_of(row, "kind", where, KINDS) if "kind" in row else one_of(row, "name", where, KINDS),
        elements=shares,
        per_subscriber_hour=number(row, "per_subscriber_hour", where, default=None if daily_at is None else 0.0),
        duration_s=distribution_of(row, "duration_s", where) if "duration_s" in row else None,
        quantity=distribution_of(row, "quantity", where) if "quantity" in row else None,
        rating_groups=groups,
        second_group_share=share_of(row, "second_group_share", where),
        destinations=destinations,
        incoming_share=share_of(row, "incoming_share", where),
        two_step_share=share_of(row, "two_step_share", where),
        size_octets=distribution_of(row, "size_octets", where) if "size_octets" in row else None,
        curve=rhythms.curve(row.get("curve"), f"{where}.curve"),
        daily_at=daily_at,
        within_s=number(row, "within_s", where, default=0.0),
        habits=names_of(row, "habits", where, habits),
        forwarding=tuple(
            (share, FORWARDING_MODES[mode])
            for share, mode in (
                weights_of(row, "forwarding", where, tuple(FORWARDING_MODES)) if "forwarding" in row else ()
            )
        ),
    )
