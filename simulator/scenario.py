"""A scenario file: subscribers, traffic, places and faults. It is read and checked as a whole."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from simulator.distributions import ALWAYS, Curve, Distribution, ScenarioError, number, read_curve, read_distribution
from simulator.requests import Element, Place

MAX_SUBSCRIBERS = 1_000_000
SHIPPED = files("simulator") / "scenarios"


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


def load_scenario(name: str | Path) -> Scenario:
    """From a file, or a shipped scenario by its name ("busy_hour"). Raises ScenarioError."""
    path = Path(name)
    if not path.exists():
        shipped = SHIPPED / f"{path.stem}.toml"
        if not shipped.is_file():
            raise ScenarioError(f"there is no scenario file {path}, and none named {path.stem!r} is shipped")
        text = shipped.read_text("utf-8")
    else:
        text = path.read_text("utf-8")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{path}: {error}") from error
    return _scenario(table)


def _scenario(table: Mapping[str, object]) -> Scenario:
    accounts = _table(table, "accounts", "")
    faults = _table(table, "faults", "")
    subscribers = int(number(table, "subscribers", "scenario"))
    if not 1 <= subscribers <= MAX_SUBSCRIBERS:
        raise ScenarioError(f"scenario.subscribers is {subscribers}; it must be 1 to {MAX_SUBSCRIBERS}")
    return Scenario(
        name=str(table.get("name", "")),
        subscribers=subscribers,
        duration_s=_positive(table, "duration_s", "scenario"),
        speed=_positive(table, "speed", "scenario"),
        first_msisdn=int(number(accounts, "first_msisdn", "accounts")),
        first_imsi=int(number(accounts, "first_imsi", "accounts")),
        packages=tuple(
            (number(_table(accounts, "packages", "accounts"), key, "accounts.packages"), key)
            for key in _table(accounts, "packages", "accounts")
        ),
        credit_groups=tuple(
            (group.share, group)
            for group in (_credit(row, index) for index, row in _rows(accounts, "credit", "accounts"))
        ),
        places=tuple(_place(row, index) for index, row in _rows(table, "place", "")),
        services=tuple(_service(row, index) for index, row in _rows(table, "service", "")),
        faults=Faults(
            *(_share(faults, name, "faults") for name in ("lost_answers", "dead_sessions")),
            *(_share(faults, name, "faults") for name in ("ignored_requests", "unanswered_requests")),
        ),
        restarts=tuple(_restart(row, index) for index, row in _rows(table, "restart", "", needed=False)),
    )


def _restart(row: Mapping[str, object], index: int) -> Restart:
    where = f"restart[{index}]"
    element = _text(row, "element", where)
    if element not in tuple(Element):
        raise ScenarioError(f"{where}.element is {element!r}; it must be one of {', '.join(Element)}")
    return Restart(Element(element), _positive(row, "at_s", where), number(row, "again_within_s", where))


def _credit(row: Mapping[str, object], index: int) -> CreditGroup:
    where = f"accounts.credit[{index}]"
    limit, package = str(row.get("limit_eur", "")), str(row.get("package", ""))
    return CreditGroup(number(row, "share", where), _distribution(row, "eur", where), limit, package)


def _place(row: Mapping[str, object], index: int) -> tuple[float, Place]:
    where = f"place[{index}]"
    return number(row, "share", where), Place(
        _text(row, "id", where), _text(row, "plmn", where), _text(row, "switch", where)
    )


def _service(row: Mapping[str, object], index: int) -> ServiceTraffic:
    where = f"service[{index}]"
    groups = tuple(
        (
            number(group, "share", f"{where}.rating_group[{at}]"),
            RatingGroupUse(
                int(number(group, "id", f"{where}.rating_group[{at}]")),
                _text(group, "service", f"{where}.rating_group[{at}]"),
                _distribution(group, "octets", f"{where}.rating_group[{at}]"),
            ),
        )
        for at, group in _rows(row, "rating_group", where, needed=False)
    )
    destinations = tuple(
        (
            number(target, "share", f"{where}.destination[{at}]"),
            Destination(
                _text(target, "class", f"{where}.destination[{at}]"),
                _text(target, "number", f"{where}.destination[{at}]"),
            ),
        )
        for at, target in _rows(row, "destination", where, needed=False)
    )
    elements = _table(row, "elements", where)
    try:
        shares = tuple((number(elements, name, f"{where}.elements"), Element(name)) for name in elements)
    except ValueError:
        raise ScenarioError(f"{where}.elements must be of {', '.join(Element)}, not {', '.join(elements)}") from None
    return ServiceTraffic(
        name=_text(row, "name", where),
        elements=shares,
        per_subscriber_hour=number(row, "per_subscriber_hour", where),
        duration_s=_distribution(row, "duration_s", where) if "duration_s" in row else None,
        quantity=_distribution(row, "quantity", where) if "quantity" in row else None,
        rating_groups=groups,
        second_group_share=_share(row, "second_group_share", where),
        destinations=destinations,
        incoming_share=_share(row, "incoming_share", where),
        two_step_share=_share(row, "two_step_share", where),
        size_octets=_distribution(row, "size_octets", where) if "size_octets" in row else None,
        curve=read_curve(row.get("curve"), f"{where}.curve"),
    )


def _table(table: Mapping[str, object], name: str, where: str) -> Mapping[str, object]:
    value = table.get(name)
    if not isinstance(value, dict):
        raise ScenarioError(f"{where}{'.' if where else ''}{name} is missing; it must be a table")
    return value


def _rows(
    table: Mapping[str, object], name: str, where: str, *, needed: bool = True
) -> list[tuple[int, Mapping[str, object]]]:
    rows = table.get(name, [])
    if not isinstance(rows, list) or (needed and not rows) or not all(isinstance(row, dict) for row in rows):
        raise ScenarioError(f"{where}{'.' if where else ''}{name} must be a list of tables with at least one")
    return list(enumerate(rows))


def _text(table: Mapping[str, object], name: str, where: str) -> str:
    value = table.get(name)
    if not isinstance(value, str) or not value:
        raise ScenarioError(f"{where}.{name} is {value!r}; it must be a text")
    return value


def _distribution(table: Mapping[str, object], name: str, where: str) -> Distribution:
    return read_distribution(_table(table, name, where), f"{where}.{name}")


def _share(table: Mapping[str, object], name: str, where: str) -> float:
    share = number(table, name, where, default=0.0)
    if share > 1:
        raise ScenarioError(f"{where}.{name} is {share:g}; a share is 0 to 1")
    return share


def _positive(table: Mapping[str, object], name: str, where: str) -> float:
    value = number(table, name, where)
    if value <= 0:
        raise ScenarioError(f"{where}.{name} must be more than 0")
    return value
