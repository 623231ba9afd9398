"""Prices, products, counters and numbers of the walk's accounts (walk.py)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ocs.catalogue.price import compile_price, free_price
from ocs.ledger.contract.charging import Leg
from ocs.ledger.redis.keys import Keys
from ocs.values.products import (
    MONTHLY_LIMIT,
    AtLimit,
    BucketTerms,
    Conditions,
    CounterTerms,
    Measure,
    PackageTerms,
    Window,
)
from ocs.values.use import PriceTerms, Unit

START = 20_776 * 86_400 - 1_500
"""Shortly before midnight."""
MONTH, PARTITIONS = 202611, 4
POOLS = ("family", "firm")

FAIR = CounterTerms("fair", Window.PERIOD, Measure.UNITS, 3_000_000, (50, 80, 100))
CAP = CounterTerms("cap", Window.MONTH, Measure.MONEY, 2_500_000, (80, 100))
TEXTS = CounterTerms("texts", Window.DAY, Measure.CREDIT_UNITS, 12, (100,))
TALK = CounterTerms("talk", Window.ROLLING, Measure.UNITS, 2_000, (80,), 1_600)
ABROAD = CounterTerms("abroad", Window.PERIOD, Measure.BUCKET_UNITS, None, (80, 100), at_limit=AtLimit.PRICE)
"""A fair-use volume: the products give it its limit."""
SPEED = CounterTerms("speed", Window.PERIOD, Measure.BUCKET_UNITS, None, (100,), at_limit=AtLimit.RESTRICT)
COUNTED = CounterTerms("counted", Window.ROLLING, Measure.MONEY, None, (), 640)


def _bucket(name: str, unit: str, quantity: int | None, priority: int = 0) -> BucketTerms:
    return BucketTerms(name, unit, quantity, priority)


SMALL = PackageTerms(
    "SMALL",
    3_000_000,
    5_000,
    (
        BucketTerms("SMALL.data", "octets", 4_000_000, thresholds=(80, 100)),
        _bucket("SMALL.sms", "messages", 3),
        _bucket("SMALL.first", "octets", 1_500_000),
    ),
    counters=(FAIR, replace(ABROAD, limit=900_000)),
    facts=("fair-use",),
    commitment_days=1,
    benefits=(("fee", 500_001), ("equipment", 70_000)),
)
BIG = PackageTerms(
    "BIG",
    9_990_000,
    9_000,
    (_bucket("BIG.data", "octets", None), _bucket("BIG.voice", "seconds", 600)),
    order=2,
    notice_s=2_000,
    counters=(replace(ABROAD, limit=2_500_000), replace(SPEED, limit=3_000_000)),
)
TINY = PackageTerms("TINY", 150_000, 900, (_bucket("SMALL.data", "octets", 500_000),), counters=(FAIR,), order=1)
PACK = PackageTerms(
    "PACK",
    400_000,
    2_000,
    (BucketTerms("PACK.sms", "messages", 4, -1, (50, 100)),),
    "pack",
    excludes=("PACK",),
    facts=("pack",),
    voided_by_change=True,
    notice_s=700,
)
EXTRA = PackageTerms(
    "EXTRA",
    250_000,
    1_500,
    (_bucket("EXTRA.data", "octets", 900_000, -1),),
    "",
    renews=False,
    counts=True,
    with_tariff=True,
    voided_by_change=True,
)
ONCE = PackageTerms("ONCE", 60_000, 0, (), "", renews=False)
ZONE = PackageTerms(
    "ZONE",
    700_000,
    1_800,
    (_bucket("ZONE.data", "octets", 2_000_000), _bucket("BIG.voice", "seconds", 120, -2)),
    "zone",
    renews=False,
)
SHARED = PackageTerms(
    "SHARED",
    1_000_000,
    3_000,
    (BucketTerms("SHARED.data", "octets", 6_000_000, 1, (80,)),),
    "shared",
    shared=True,
    order=3,
)
FEE = PackageTerms(
    "FEE", 99_000, 1_200, (), "", order=-1, excludes=("EXTRA",), commitment_days=2, benefits=(("fee", 90_000),)
)
TARIFFS = (SMALL, BIG, TINY)
CONDITIONS = (
    Conditions(running_tariff=True),
    Conditions(barred_with=("SMALL", "TINY")),
    Conditions(requires=("BIG", "PACK")),
)
PRODUCTS = (PACK, EXTRA, SHARED, ZONE, FEE, ONCE, *TARIFFS)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of service. `windows` are the prices of one rate at different times of day: same name and steps."""

    windows: tuple[PriceTerms, ...]
    buckets: tuple[str, ...]
    usual: int
    """Raw units used or wanted at a time."""
    unit: Unit
    counters: tuple[CounterTerms, ...] = (MONTHLY_LIMIT,)
    legs: tuple[Leg, ...] = ()
    beyond: PriceTerms | None = None
    slows: bool = False


def _kind(
    name: str, unit: Unit, usual: int, *micro_eur: int, buckets: tuple[str, ...] = (), quantity: int = 1, **steps: Any
) -> Kind:
    windows = tuple(compile_price(name, unit=unit, micro_eur=each, quantity=quantity, **steps) for each in micro_eur)
    return Kind(windows, buckets, usual, unit)


DATA: dict[str, Any] = {
    "quantity": 2**20,
    "first": 1024,
    "next_": 1024,
    "buckets": ("SMALL.first", "SMALL.data", "BIG.data", "EXTRA.data", "SHARED.data"),
}
DEAR: dict[str, Any] = {"quantity": 2**20, "first": 102_400, "next_": 10_240, "rounding": "up"}
VOICE: dict[str, Any] = {"quantity": 60, "first": 60, "next_": 7, "rounding": "down", "buckets": ("BIG.voice",)}
_DATA_BUCKETS: tuple[str, ...] = DATA["buckets"]
BEYOND = {
    name: compile_price(name, unit=Unit.OCTETS, micro_eur=830_003, quantity=2**20, first=1024, next_=1024)
    for name in ("abroad", "both")
}
"""Of the rate and in its steps, at another price."""
_SURCHARGE = compile_price("surcharge", unit=Unit.OCTETS, micro_eur=50_001, quantity=2**20, first=1, next_=1)
_INCOMING = compile_price("received", unit=Unit.SECONDS, micro_eur=70_000, quantity=60, first=1, next_=1)
KINDS = {
    "data": replace(_kind("data", Unit.OCTETS, 4_000_000, 690_000, 69_001, **DATA), counters=(MONTHLY_LIMIT, FAIR)),
    "abroad": replace(
        _kind("abroad", Unit.OCTETS, 500_000, 690_000, 400_001, **DATA),
        counters=(MONTHLY_LIMIT, ABROAD),
        beyond=BEYOND["abroad"],
    ),
    "both": replace(
        _kind("both", Unit.OCTETS, 300_000, 690_000, **DATA),
        counters=(MONTHLY_LIMIT, CAP, ABROAD),
        legs=(Leg("surcharge", _SURCHARGE, _DATA_BUCKETS[:3], (MONTHLY_LIMIT, ABROAD)),),
        beyond=BEYOND["both"],
    ),
    "fast": replace(_kind("fast", Unit.OCTETS, 600_000, 690_000, **DATA), counters=(MONTHLY_LIMIT, SPEED), slows=True),
    "zone": replace(
        _kind("zone", Unit.OCTETS, 500_000, 5_120_007, 7_300_001, **DEAR, buckets=("ZONE.data",)),
        counters=(MONTHLY_LIMIT, CAP),
    ),
    "voice": replace(
        _kind("voice", Unit.SECONDS, 300, 146_401, 99_000, **VOICE), counters=(MONTHLY_LIMIT, TALK, COUNTED)
    ),
    "call": _kind("call", Unit.SECONDS, 300, 500_000, 350_000, flat=True),
    "sms": replace(
        _kind("sms", Unit.MESSAGES, 2, 237_901, quantity=3, buckets=("SMALL.sms", "PACK.sms")),
        counters=(MONTHLY_LIMIT, TEXTS),
    ),
    "incoming": Kind((free_price("incoming", Unit.SECONDS),), (), 600, Unit.SECONDS, ()),
    "forward": replace(
        _kind("forward", Unit.SECONDS, 120, 301_000, 250_000, quantity=60, first=60, next_=60, buckets=("BIG.voice",)),
        counters=(MONTHLY_LIMIT,),
        legs=(Leg("received", _INCOMING, ("BIG.voice",), (MONTHLY_LIMIT, CAP, TALK)),),
    ),
}


def _numbers() -> tuple[str, ...]:
    """MSISDNs of three accounts: two in one partition, one in another."""
    keys = Keys(PARTITIONS)
    numbers = [f"3866810000{n}" for n in range(10)]
    near = [n for n in numbers if keys.partition_of_name("m" + n) == keys.partition_of_name("m" + numbers[0])]
    far = [n for n in numbers if n not in near]
    return (*near[:2], far[0])


NUMBERS = _numbers()
