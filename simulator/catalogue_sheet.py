"""The operator's catalogue as a price list on paper (`price_sheet.Sheet`): what a use costs, what a product includes.

A reading of its own: it shares no code with the server. Of several versions each holds from its `valid_from` on.
Prices by time of day and content at its face value are not computed here: `SheetError`.
"""

from __future__ import annotations

import tomllib
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from simulator.price_sheet import MICRO, Article, Row, SheetError
from simulator.prices import FACE_VALUE, Price, PriceList, PriceListError

DEFAULT_LIMIT_MICRO_EUR = 100 * MICRO
"""HOT-CC-1: of a calendar month, until the subscriber sets another."""
MOST_KEPT = 10_000
"""Most answers of `legs` that are kept."""
RENEWING = frozenset(("tariff", "option", "recurring-fee"))
KINDS_OF_ARTICLES = {"tariff": "tariff", "option": "option", "pack": "pack", "recurring-fee": "recurring-fee"}


class CatalogueSheet:
    """`tables`: catalogues as TOML reads them, in the order of their beginning."""

    def __init__(self, tables: Sequence[Mapping[str, Any]]) -> None:
        first = tables[0]["catalogue"]
        self.zone = ZoneInfo(first["time_zone"])
        self._begins = [self._moment(table["catalogue"].get("valid_from")) for table in tables]
        self._versions = [_Version(table) for table in tables]
        self._found: dict[tuple[Any, ...], list[Row]] = {}
        """By what was asked."""

    @classmethod
    def read(cls, path: Path) -> CatalogueSheet:
        """A file, or a folder with a file for each version. Raises PriceListError."""
        paths = sorted(path.glob("*.toml")) if path.is_dir() else [path]
        try:
            tables = [tomllib.loads(each.read_text("utf-8")) for each in paths]
            return cls(sorted(tables, key=lambda table: str(table["catalogue"].get("valid_from", ""))))
        except OSError as error:
            raise PriceListError(f"{path}: {error.strerror}: name the server's catalogue with --catalogue") from error
        except (tomllib.TOMLDecodeError, KeyError, ValueError, IndexError) as error:
            raise PriceListError(f"{path}: cannot be read as a price list ({error!r})") from error

    def _moment(self, local: object) -> int:
        return int(datetime.fromisoformat(str(local)).replace(tzinfo=self.zone).timestamp()) if local else 0

    def day(self, moment: int) -> str:
        return datetime.fromtimestamp(moment, self.zone).date().isoformat()

    def midnight(self, moment: int) -> int:
        """When the local day began."""
        return self._moment(self.day(moment))

    def _at(self, moment: int) -> _Version:
        return self._versions[max(bisect_right(self._begins, moment) - 1, 0)]

    def article(self, moment: int, id_: str) -> Article:
        found = self._at(moment).articles.get(id_)
        if found is None:
            raise SheetError(f"the catalogue has no product {id_!r}")
        return found

    def cap(self, moment: int) -> int:
        return self._at(moment).cap(self.day(moment))

    def limits(self, moment: int) -> dict[str, int | None]:
        """Limits of money of a month that hold without anybody's doing: HOT-CC-1, HOT-ROA-5."""
        return dict(self._at(moment).limits)

    def default_units(self, moment: int, service: str) -> int:
        """What is granted to a request for no particular amount."""
        return self._at(moment).quotas.get(service, 0)

    def legs(
        self,
        moment: int,
        service: str,
        place: str,
        *,
        direction: str = "",
        destination: str = "",
        forwarding: str = "",
        facts: Collection[str] = (),
    ) -> list[Row]:
        """The rows at which a use is paid, a surcharge among them. A forwarded call (HOT-RAT-7): forwarded early, it is
        a call from home; late and abroad, a call from there and an incoming one. Raises SheetError.
        """
        version, day = self._at(moment), self.day(moment)
        key = (version.name, day, service, place, direction, destination, forwarding, *sorted(facts))
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= MOST_KEPT:
                self._found.clear()
            found = self._legs(version, day, service, place, direction, destination, forwarding, facts)
            self._found[key] = found
        return found

    def _legs(
        self,
        version: _Version,
        day: str,
        service: str,
        place: str,
        direction: str,
        destination: str,
        forwarding: str,
        facts: Collection[str],
    ) -> list[Row]:
        if not forwarding:
            return version.rows(day, service, place, direction, destination, facts)
        if forwarding == "early":
            return version.rows(day, service, "home", "fw", destination, facts)
        rows = version.rows(day, service, place, "fw", destination, facts)
        if place != "home" and not rows[0].always:
            rows = rows + version.rows(day, service, place, "mt", "", facts)
        return rows


class _Version:
    def __init__(self, table: Mapping[str, Any]) -> None:
        head = table["catalogue"]
        self.name, self._vat = str(head["version"]), int(head["vat_percent"])
        self._prices, self._rates = PriceList(table), table["rate"]
        self._counters: Mapping[str, Mapping[str, Any]] = table.get("counter", {})
        self._windows = {name for name, row in table["price"].items() if row.get("window")}
        self.articles = {id_: self._article(id_, row) for id_, row in table["package"].items()}
        self.limits: dict[str, int | None] = {"limit": DEFAULT_LIMIT_MICRO_EUR}
        for name, counter in self._counters.items():
            if counter["measure"] == "money" and "limit" in counter:
                self.limits[name] = int(Decimal(counter["limit"]) * MICRO)
        self.quotas = {
            name: self._prices.quantity(row["quota"]["default"]) or 0
            for name, row in table["service"].items()
            if "quota" in row
        }
        self._caps = [(str(each["from"]), each["eur_per_gb"]) for each in table.get("fair_use", {}).get("caps", ())]

    def cap(self, day: str) -> int:
        caps = [eur for begins, eur in self._caps if begins <= day]
        return int(Decimal(caps[-1]) * MICRO) if caps else MICRO**2

    # -- rates

    def rows(
        self, day: str, service: str, place: str, direction: str, destination: str, facts: Collection[str]
    ) -> list[Row]:
        best: tuple[tuple[bool, bool, int], str] | None = None
        for name, rate in self._rates.items():
            if not _is_for(rate, service, place, direction, destination) or not _holds(rate, day, facts):
                continue
            conditions = len(rate.get("when", ())) + len(rate.get("unless", ())) + ("from" in rate) + ("until" in rate)
            rank = (destination in rate.get("destinations", ()), place in rate["places"], conditions)
            if best is None or rank > best[0]:
                best = (rank, name)
        if best is None:
            raise SheetError(f"the catalogue has no rate for {service} in {place}, {direction or '-'} to {destination}")
        return self._legs_of(best[1])

    def _legs_of(self, name: str) -> list[Row]:
        rate = self._rates[name]
        counters = rate.get("counters", ())
        cap = next((each for each in counters if self._counters[each]["measure"] == "money"), "")
        price = self._price(rate["price"])
        has_volume = any(self._counters[each].get("at_limit") == "price" for each in counters)
        beyond = self._price(rate["beyond"]) if "beyond" in rate else price if has_volume else None
        units = tuple(rate.get("buckets", ()))
        found = [Row(name, self.name, price, units, cap, beyond, bool(rate.get("always")))]
        if "surcharge" in rate:
            found.append(Row(f"{name}.surcharge", self.name, self._price(rate["surcharge"]), (), cap))
        return found

    def _price(self, name: str) -> Price:
        if name in self._windows or name == FACE_VALUE:
            raise SheetError(f"the price {name!r} depends on the time of day, or on the request")
        try:
            return self._prices.price_named(name)
        except PriceListError as error:
            raise SheetError(str(error)) from error

    # -- products

    def _article(self, id_: str, row: Mapping[str, Any]) -> Article:
        kind, buckets = row.get("kind", "tariff"), row.get("bucket", {})
        commitment = row.get("commitment", {})
        return Article(
            id=id_,
            price_micro_eur=int(Decimal(row["price_eur"]) * MICRO),
            days=0 if kind == "fee" else int(row["period_days"]),
            units={name: self._prices.quantity(bucket["quantity"]) for name, bucket in buckets.items()},
            marks=frozenset(_marks(kind, row)),
            vat_percent=self._vat,
            benefits={name: int(Decimal(eur) * MICRO) for name, eur in commitment.get("benefits", {}).items()},
            agreed_days=int(commitment.get("days", 0)),
            told=frozenset(name for name, bucket in buckets.items() if bucket.get("thresholds")),
        )


def _marks(kind: str, row: Mapping[str, Any]) -> set[str]:
    marks = {KINDS_OF_ARTICLES[kind]} if kind in KINDS_OF_ARTICLES else set()
    if row.get("recurring", kind in RENEWING):
        marks.add("renews")
    if row.get("ends_with_tariff", kind == "extra"):
        marks.add("with-tariff")
    if row.get("counts", kind == "extra"):
        marks.add("counts")
    if row.get("voided_by_change", bool(row.get("barred_with"))):
        marks.add("voided")
    if row.get("shared"):
        marks.add("shared")
    marks.update(f"needs:{each}" for each in row.get("requires", ()))
    marks.update(f"not-with:{each}" for each in row.get("barred_with", ()))
    return marks


def _is_for(rate: Mapping[str, Any], service: str, place: str, direction: str, destination: str) -> bool:
    if rate["service"] != service or not {"*", place} & set(rate["places"]):
        return False
    directions, destinations = rate.get("directions"), rate.get("destinations")
    if directions and direction not in directions:
        return False
    return not destinations or bool({"*", destination} & set(destinations))


def _holds(rate: Mapping[str, Any], day: str, facts: Collection[str]) -> bool:
    if not set(rate.get("when", ())) <= set(facts) or set(rate.get("unless", ())) & set(facts):
        return False
    return str(rate.get("from", day)) <= day <= str(rate.get("until", day))
