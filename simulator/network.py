"""The network of a scenario: which elements there are, in which dialects, behind which agents, and what fails when.

Without `[network]` each kind of element is one peer, connected to the server itself. Elements of one group share their
sessions: if one fails, another goes on with them, under its own Origin-Host. With agents (DRAs) the elements connect to
these, and the agents to the server.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from simulator.dialects import Dialect, load_dialect
from simulator.distributions import ScenarioError, number
from simulator.requests import Element

MAX_AGENTS, MAX_HOSTS = 8, 64
ALL, SERVER = "all", "server"


@dataclass(frozen=True, slots=True)
class Group:
    """Elements of one kind that go on with each other's sessions (`failover_group` of the server's settings)."""

    element: Element
    dialect: str
    hosts: tuple[str, ...]
    """First labels of their Origin-Hosts."""
    share: float = 1.0
    """Of the kind's sessions, weighed against the other groups."""


@dataclass(frozen=True, slots=True)
class Failover:
    """An element or an agent is lost for some time."""

    at_s: float
    host: str
    """First label of its Origin-Host."""
    for_s: float
    link: str = ALL
    """Of an agent: "server" = it loses its connection to the server only."""


@dataclass(frozen=True, slots=True)
class Network:
    agents: tuple[str, ...] = ()
    """First labels of their Origin-Hosts; () = the elements connect to the server themselves."""
    groups: tuple[Group, ...] = ()
    failovers: tuple[Failover, ...] = ()

    def groups_of(self, element: Element) -> tuple[Group, ...]:
        """The groups of this kind; one in the standard dialect if the scenario names none."""
        found = tuple(group for group in self.groups if group.element is element)
        return found or (Group(element, element.value, (element.value,)),)

    def home(self, element: Element, subscriber: str) -> tuple[Group, str]:
        """Where a subscriber's sessions are opened: the same host each time."""
        groups = self.groups_of(element)
        drawn = zlib.crc32(subscriber.encode()) / 2**32 * sum(group.share for group in groups)
        for group in groups:
            if drawn < group.share:
                break
            drawn -= group.share
        return group, group.hosts[int(drawn / group.share * len(group.hosts)) % len(group.hosts)]


DIRECT = Network()


@dataclass(frozen=True, slots=True)
class PeerEntry:
    """What the server's settings must say of one peer."""

    origin_host: str
    realm: str
    failover_group: str = ""
    relay: bool = False

    def toml(self) -> str:
        lines = ["[[peer]]", f'origin_host = "{self.origin_host}"', f'realm = "{self.realm}"']
        if self.failover_group:
            lines.append(f'failover_group = "{self.failover_group}"')
        if self.relay:
            lines += ['kind = "relay"', f'realms = ["{self.realm}"]']
        return "\n".join(lines)


def peer_entries(network: Network, realm: str, elements: Iterable[Element] = tuple(Element)) -> Iterator[PeerEntry]:
    """Agents first, then the elements."""
    for label in network.agents:
        yield PeerEntry(f"{label}.{realm}", realm, relay=True)
    for element in elements:
        for group in network.groups_of(element):
            for host in group.hosts:
                yield PeerEntry(f"{host}.{realm}", realm, group.hosts[0] if len(group.hosts) > 1 else "")


# -- the scenario file


def read_network(table: Mapping[str, object]) -> Network:
    """`[network]` and `[[failover]]` of a scenario. Raises ScenarioError, DialectError."""
    rows = table.get("network", {})
    if not isinstance(rows, dict):
        raise ScenarioError("network must be a table")
    agents = _labels(rows.get("agents", []), "network.agents", MAX_AGENTS)
    groups = tuple(_group(row, index) for index, row in _tables(rows.get("group", []), "network.group"))
    names = [*agents, *(host for element in Element for group in Network((), groups).groups_of(element)
                        for host in group.hosts)]  # fmt: skip
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ScenarioError(f"network: {', '.join(sorted(twice))} occurs more than once; each host needs its own name")
    fails = (_failover(row, index, names, agents) for index, row in _tables(table.get("failover", []), "failover"))
    return Network(agents, groups, tuple(sorted(fails, key=lambda each: each.at_s)))


def _group(row: Mapping[str, object], index: int) -> Group:
    where = f"network.group[{index}]"
    element = row.get("element")
    if element not in tuple(Element):
        raise ScenarioError(f"{where}.element is {element!r}; it must be one of {', '.join(Element)}")
    dialect = _dialect(str(row.get("dialect", element)), Element(str(element)), where)
    hosts = _labels(row.get("hosts", []), f"{where}.hosts", MAX_HOSTS)
    share = number(row, "share", where, default=1.0)
    if not hosts or not share > 0:
        raise ScenarioError(f"{where} needs hosts, and a share of more than 0")
    return Group(Element(str(element)), dialect.name, hosts, share)


def _dialect(name: str, element: Element, where: str) -> Dialect:
    dialect = load_dialect(name)
    if dialect.element is not element:
        raise ScenarioError(f"{where}.dialect {name} is one of {dialect.element.value}, not of {element.value}")
    return dialect


def _failover(row: Mapping[str, object], index: int, names: Sequence[str], agents: Sequence[str]) -> Failover:
    where = f"failover[{index}]"
    host, link = str(row.get("host", "")), str(row.get("link", ALL))
    if host not in names:
        raise ScenarioError(f"{where}.host is {host!r}; it must be one of {', '.join(names)}")
    if link not in (ALL, SERVER) or (link == SERVER and host not in agents):
        raise ScenarioError(f'{where}.link is {link!r}; it must be "all", or of an agent "server"')
    return Failover(number(row, "at_s", where), host, number(row, "for_s", where), link)


def _labels(value: object, where: str, most: int) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > most or not all(isinstance(name, str) and name for name in value):
        raise ScenarioError(f"{where} must be a list of up to {most} names")
    return tuple(value)


def _tables(rows: object, where: str) -> list[tuple[int, Mapping[str, object]]]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ScenarioError(f"{where} must be a list of tables")
    return list(enumerate(rows))
