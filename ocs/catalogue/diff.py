"""What changes from one version of the catalogue to another, table by table, in words and as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from ocs.catalogue.catalogue import Catalogue
from ocs.catalogue.problems import key_path
from ocs.catalogue.reading import Tables
from ocs.values.quantity import parse_quantity, unit_of

ADDED, REMOVED, CHANGED = "added", "removed", "changed"
AMOUNTS = ("micro_eur", "price_eur", "net_eur", "maximum_eur", "credit")
"""Keys of amounts: the change is told in percent too."""
NOT_TOLD = ("illustrative",)
_TENTH = Decimal("0.1")


@dataclass(frozen=True, slots=True)
class Change:
    """One key that differs. `key` is the path in the file, such as price.data-national.micro_eur."""

    kind: str
    """ADDED or REMOVED (of a table: `key` is the table's) or CHANGED."""
    key: str
    before: object = None
    after: object = None
    percent: str | None = None
    """ "+30.4" of an amount or a quantity, where there is something to compare."""

    def text(self) -> str:
        if self.kind != CHANGED:
            return f"{self.key}: {self.kind}{_summary(self.after if self.kind == ADDED else self.before)}"
        if isinstance(self.before, tuple) and isinstance(self.after, tuple):
            gone = [each for each in self.before if each not in self.after]
            new = [each for each in self.after if each not in self.before]
            parts = [f"{sign} {', '.join(map(str, some))}" for sign, some in (("+", new), ("-", gone)) if some]
            return f"{self.key}: {'; '.join(parts) or 'in another order'}"
        percent = f" ({self.percent} %)" if self.percent else ""
        return f"{self.key}: {_shown(self.before)} -> {_shown(self.after)}{percent}"

    def data(self) -> dict[str, object]:
        return {
            "kind": self.kind,
            "key": self.key,
            "before": self.before,
            "after": self.after,
            "percent": self.percent,
        }


def differences(before: Catalogue, after: Catalogue) -> list[Change]:
    """In the order of the files: [catalogue], then each section; in each what is gone, new and changed."""
    found: list[Change] = []
    old, new = _tables(before.tables), _tables(after.tables)
    for section in dict.fromkeys((*old, *new)):
        found += _of_section(section, old.get(section, {}), new.get(section, {}))
    return found


def _tables(tables: Tables) -> dict[str, dict[str, dict[str, object]]]:
    """Section → id → flat keys and values; of tables that are there once the id is ""."""
    found: dict[str, dict[str, dict[str, object]]] = {}
    for name, single in (("catalogue", tables.general), ("fair_use", tables.fair_use), ("notices", tables.notices)):
        found[name] = {} if single is None else {"": dict(_flat(single.model_dump(by_alias=True)))}
    for section, entries in tables.sections.items():
        found[section] = {id_: dict(_flat(table.model_dump(by_alias=True))) for id_, table in entries.items()}
    return found


def _flat(table: Mapping[str, object], at: tuple[str, ...] = ()) -> Iterator[tuple[str, object]]:
    """Keys with points between, and values; lists become tuples, tables of a list one text each."""
    for name, value in table.items():
        if name in NOT_TOLD:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, (*at, name))
        elif isinstance(value, Sequence) and not isinstance(value, str):
            yield ".".join((*at, name)), tuple(_line(each) for each in value)
        else:
            yield ".".join((*at, name)), value


def _line(entry: object) -> object:
    """One line of a list: a value, or a table as it is written in the file."""
    if not isinstance(entry, Mapping):
        return entry
    parts = (f"{name} = {_shown(value)}" for name, value in entry.items() if value is not None and name not in NOT_TOLD)
    return "{ " + ", ".join(parts) + " }"


def _of_section(
    section: str, old: Mapping[str, Mapping[str, object]], new: Mapping[str, Mapping[str, object]]
) -> Iterator[Change]:
    def at(id_: str, key: str = "") -> str:
        path = key_path(*(part for part in (section, id_) if part))
        return f"{path}.{key}" if key else path

    for id_ in old:
        if id_ not in new:
            yield Change(REMOVED, at(id_), before=_stated(old[id_]))
    for id_ in new:
        if id_ not in old:
            yield Change(ADDED, at(id_), after=_stated(new[id_]))
    for id_ in old:
        for key in dict.fromkeys((*old[id_], *new.get(id_, {}))) if id_ in new else ():
            one, other = old[id_].get(key), new[id_].get(key)
            if one != other:
                yield Change(CHANGED, at(id_, key), one, other, _percent(key, one, other))


def _stated(table: Mapping[str, object]) -> dict[str, object]:
    """What the table says, without what it leaves at nothing."""
    return {key: value for key, value in table.items() if value not in (None, (), False, "")}


def _percent(key: str, before: object, after: object) -> str | None:
    name = key.rpartition(".")[2]
    one, other = _number(name, before), _number(name, after)
    if not one or other is None:
        return None
    return f"{((other - one) * 100 / one).quantize(_TENTH, ROUND_HALF_UP):+}"


def _number(name: str, value: object) -> Decimal | None:
    if name in AMOUNTS and isinstance(value, str | int):
        return Decimal(value)
    if isinstance(value, str) and (unit := unit_of(value)) is not None:
        try:
            return Decimal(parse_quantity(value, unit, kilo=1024))
        except ValueError:
            return None
    return None


def _summary(table: object) -> str:
    if not isinstance(table, Mapping):
        return ""
    return " (" + ", ".join(f"{key} {_shown(value)}" for key, value in table.items()) + ")"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "nothing" if value in (None, "") else str(value)
