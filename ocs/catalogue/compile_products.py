"""Compiles the products, tables [package.ID]: terms for the ledger and rules of the sale (HOT-PKG-1 to -18)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from zoneinfo import ZoneInfo

from ocs.catalogue.compile_counters import CompiledCounter, counters_of_product
from ocs.catalogue.compile_parts import midnight, quantity
from ocs.catalogue.model import BucketTable, General, PackageTable
from ocs.catalogue.problems import Problems, key_path
from ocs.catalogue.reading import Tables
from ocs.values.exact import MAX_INTEGER
from ocs.values.moment import DAY_S
from ocs.values.money import format_eur, net_micro_eur, parse_eur, round_to_cent
from ocs.values.products import PACKAGE_GROUP, BucketTerms, Change, Conditions, PackageTerms, Product, ProductKind
from ocs.values.use import Unit

UNLIMITED = "unlimited"
TARIFF_PRIORITY = 0
OTHER_PRIORITY = -1
"""Units of all other products are used before those of the tariff (HOT-PKG-10)."""
ORDER = {ProductKind.TARIFF: 0, ProductKind.OPTION: 1, ProductKind.PACK: 2, ProductKind.RECURRING_FEE: 3}
"""Of products whose fees are due at the same time, the one with the lower number is paid first; others have 4."""
RECURRING = {ProductKind.TARIFF, ProductKind.OPTION, ProductKind.RECURRING_FEE}
"""Kinds that renew unless the table says otherwise."""
WITH_UNITS = {ProductKind.TARIFF, ProductKind.PACK, ProductKind.ZONE, ProductKind.EXTRA}
WITHOUT_UNITS = {ProductKind.FEE, ProductKind.RECURRING_FEE}


def compile_products(
    general: General,
    tables: Tables,
    counters: Mapping[str, CompiledCounter],
    zone: ZoneInfo | None,
    problems: Problems,
) -> dict[str, Product]:
    """Products by id, in the order of the file. Prices include VAT; the net price must be stated too (HOT-RAT-8)."""
    compiler = _Compiler(general, tables, counters, zone, problems)
    return {id_: compiler.product(id_, table) for id_, table in tables.of("package", PackageTable).items()}


class _Compiler:
    def __init__(
        self,
        general: General,
        tables: Tables,
        counters: Mapping[str, CompiledCounter],
        zone: ZoneInfo | None,
        problems: Problems,
    ) -> None:
        self._general, self._counters, self._zone, self._problems = general, counters, zone, problems
        self._tables = tables.of("package", PackageTable)
        self._ids = tables.ids["package"]
        self._units: dict[str, tuple[str, str]] = {}
        """Name of a bucket → its unit, and the first product that has it."""
        self._keywords: dict[str, str] = {}

    def product(self, id_: str, table: PackageTable) -> Product:
        kind = ProductKind(table.kind)
        self._check_kind(id_, kind, table)
        self._check_references(id_, table)
        price = parse_eur(table.price_eur)
        net = round_to_cent(net_micro_eur(price, self._general.vat_percent))
        if parse_eur(table.net_eur) != net:
            vat = f"{table.price_eur} less {self._general.vat_percent} % VAT, to the cent"
            self._add((id_, "net_eur"), f"must be {format_eur(net)}: {vat}", table.net_eur)
        if table.sold_from and table.sold_until and table.sold_until < table.sold_from:
            self._add((id_, "sold_until"), f"must not be before {table.sold_from}", table.sold_until)
        return Product(
            kind=kind,
            terms=self._terms(id_, kind, table, price),
            name=table.name or id_,
            net_micro_eur=net,
            change=Change(table.change or Change.NOW),
            first_use=kind is ProductKind.ZONE if table.first_use is None else table.first_use,
            keyword=table.keyword,
            sold_from=self._midnight((id_, "sold_from"), table.sold_from, 0),
            sold_until=self._midnight((id_, "sold_until"), table.sold_until, 1),
        )

    def _midnight(self, at: tuple[str, str], text: str | None, days_later: int) -> int:
        return midnight(text, days_later, self._zone, ("package", *at), self._problems)

    def _terms(self, id_: str, kind: ProductKind, table: PackageTable, price: int) -> PackageTerms:
        at = ("package", id_, "counter")
        commitment = table.commitment
        return PackageTerms(
            id=id_,
            price_micro_eur=price,
            period_s=(table.period_days or 0) * DAY_S,
            buckets=tuple(self._bucket(id_, kind, name, bucket) for name, bucket in table.bucket.items()),
            group=PACKAGE_GROUP if kind is ProductKind.TARIFF else "",
            renews=kind in RECURRING if table.recurring is None else table.recurring,
            excludes=tuple(table.excludes),
            counters=counters_of_product(at, table.counter, self._counters, self._general.kilo, self._problems),
            shared=table.shared,
            order=ORDER.get(kind, 4) if table.order is None else table.order,
            facts=tuple(sorted(set(table.facts))),
            counts=kind is ProductKind.EXTRA if table.counts is None else table.counts,
            with_tariff=kind is ProductKind.EXTRA if table.ends_with_tariff is None else table.ends_with_tariff,
            voided_by_change=bool(table.barred_with) if table.voided_by_change is None else table.voided_by_change,
            notice_s=table.notice_days * DAY_S,
            commitment_days=commitment.days if commitment else 0,
            benefits=tuple((name, parse_eur(text)) for name, text in commitment.benefits.items()) if commitment else (),
            conditions=Conditions(tuple(table.barred_with), tuple(table.requires), kind is ProductKind.EXTRA),
        )

    def _bucket(self, id_: str, kind: ProductKind, name: str, bucket: BucketTable) -> BucketTerms:
        unit, owner = self._units.setdefault(name, (bucket.unit, id_))
        if unit != bucket.unit:
            self._add((id_, "bucket", name, "unit"), f"must be {unit}, as in package {owner}", bucket.unit)
        usual = TARIFF_PRIORITY if kind is ProductKind.TARIFF else OTHER_PRIORITY
        return BucketTerms(
            f"{id_}.{name}",
            bucket.unit,
            self._quantity(bucket, id_, name),
            usual if bucket.priority is None else bucket.priority,
            tuple(sorted(set(bucket.thresholds))),
        )

    def _quantity(self, bucket: BucketTable, id_: str, name: str) -> int | None:
        if bucket.quantity == UNLIMITED:
            return None
        at = ("package", id_, "bucket", name, "quantity")
        most, more = MAX_INTEGER // 2, f', or "{UNLIMITED}"'
        return quantity(
            bucket.quantity, Unit(bucket.unit), self._general.kilo, at, self._problems, most=most, more=more
        )

    # -- keys by kind

    def _check_kind(self, id_: str, kind: ProductKind, table: PackageTable) -> None:
        """Checks keys that the kind of product requires, or does not have."""
        if kind is ProductKind.FEE:
            self._refuse(id_, kind, table, ("period_days", "recurring", "ends_with_tariff", "notice_days", "first_use"))
            self._refuse(id_, kind, table, ("commitment", "voided_by_change", "sold_from", "sold_until"))
        elif table.period_days is None:
            self._add((id_, "period_days"), "is missing and required: only a fee has no period")
        if kind in WITHOUT_UNITS:
            self._refuse(id_, kind, table, ("bucket", "counter", "shared"))
        elif kind in WITH_UNITS and not table.bucket:
            self._add((id_, "bucket"), f"is missing: a {kind} has included units")
        if kind is ProductKind.TARIFF:
            self._refuse(id_, kind, table, ("barred_with", "first_use", "ends_with_tariff", "excludes", "keyword"))
        else:
            self._refuse(id_, kind, table, ("change",))
        if table.ends_with_tariff and table.recurring:
            self._add((id_, "recurring"), "must be false: a product that ends with the tariff's period does not renew")
        if table.period_days is not None and table.notice_days >= table.period_days:
            self._add((id_, "notice_days"), "must be less than period_days", table.notice_days)
        if table.keyword and self._keywords.setdefault(table.keyword, id_) != id_:
            self._add((id_, "keyword"), f"is that of package {self._keywords[table.keyword]} already", table.keyword)

    def _refuse(self, id_: str, kind: ProductKind, table: PackageTable, names: Iterable[str]) -> None:
        for name in names:
            if getattr(table, name):
                self._add((id_, name), f"must be left out: it has no meaning for a {kind}")

    def _check_references(self, id_: str, table: PackageTable) -> None:
        for name in ("excludes", "barred_with", "requires"):
            for index, other in enumerate(getattr(table, name)):
                tariffs = name == "barred_with"
                known = self._tables.get(other)
                if other not in self._ids or (tariffs and known is not None and known.kind != "tariff"):
                    allowed = sorted(n for n in self._ids if not tariffs or self._kind_of(n) == "tariff")
                    what = "tariff" if tariffs else "package"
                    self._add(
                        (id_, name, index), f"is not a {what} of this catalogue; allowed: {', '.join(allowed)}", other
                    )

    def _kind_of(self, id_: str) -> str:
        table = self._tables.get(id_)
        return table.kind if table is not None else "tariff"

    def _add(self, at: tuple[str | int, ...], allowed: str, value: object = None) -> None:
        self._problems.add(key_path("package", *at), allowed, *(() if value is None else (value,)))
