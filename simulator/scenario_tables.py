"""Reads the tables of a scenario file: each mistake is a ScenarioError that says where, and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping

from simulator.distributions import Distribution, ScenarioError, number, read_distribution


def table_of(table: Mapping[str, object], name: str, where: str) -> Mapping[str, object]:
    value = table.get(name)
    if not isinstance(value, dict):
        raise ScenarioError(f"{where}{'.' if where else ''}{name} is missing; it must be a table")
    return value


def rows_of(
    table: Mapping[str, object], name: str, where: str, *, needed: bool = True
) -> list[tuple[int, Mapping[str, object]]]:
    rows = table.get(name, [])
    if not isinstance(rows, list) or (needed and not rows) or not all(isinstance(row, dict) for row in rows):
        raise ScenarioError(f"{where}{'.' if where else ''}{name} must be a list of tables with at least one")
    return list(enumerate(rows))


def text_of(table: Mapping[str, object], name: str, where: str) -> str:
    value = table.get(name)
    if not isinstance(value, str) or not value:
        raise ScenarioError(f"{where}.{name} is {value!r}; it must be a text")
    return value


def distribution_of(table: Mapping[str, object], name: str, where: str) -> Distribution:
    return read_distribution(table_of(table, name, where), f"{where}.{name}")


def share_of(table: Mapping[str, object], name: str, where: str) -> float:
    share = number(table, name, where, default=0.0)
    if share > 1:
        raise ScenarioError(f"{where}.{name} is {share:g}; a share is 0 to 1")
    return share


def positive_of(table: Mapping[str, object], name: str, where: str) -> float:
    value = number(table, name, where)
    if value <= 0:
        raise ScenarioError(f"{where}.{name} must be more than 0")
    return value


def weights_of(
    table: Mapping[str, object], name: str, where: str, allowed: tuple[str, ...] = ()
) -> tuple[tuple[float, str], ...]:
    """A table of shares: (share, key). `allowed`: the keys that there are; () = any."""
    row = table_of(table, name, where)
    for key in row:
        if allowed and key not in allowed:
            raise ScenarioError(f"{where}.{name} has {key!r}; there are {', '.join(allowed)}")
    return tuple((number(row, key, f"{where}.{name}"), key) for key in row)


def names_of(table: Mapping[str, object], name: str, where: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """A list of names of something that the scenario has; () = it is not stated."""
    value = table.get(name, [])
    if not isinstance(value, list) or not set(value) <= set(allowed):
        raise ScenarioError(f"{where}.{name} is {value!r}; it must be a list of {', '.join(allowed) or 'nothing'}")
    return tuple(value)


def one_of(table: Mapping[str, object], name: str, where: str, allowed: tuple[str, ...]) -> str:
    value = table.get(name)
    if value not in allowed:
        raise ScenarioError(f"{where}.{name} is {value!r}; it must be one of {', '.join(allowed)}")
    return str(value)
