"""What the model test's accounts use: prices, packages, numbers (walk.py says how)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ocs.ledger.contract import BucketTerms, PackageTerms
from ocs.ledger.keys import Keys
from ocs.rating.price import compile_price, free_price
from ocs.rating.types import PriceTerms, Unit

START, MONTH, PARTITIONS = 1_795_000_000, 202611, 4
PACKAGES = [
    PackageTerms(
        "SMALL",
        3_000_000,
        5_000,
        (
            BucketTerms("SMALL.data", "octets", 4_000_000),
            BucketTerms("SMALL.sms", "messages", 3),
            BucketTerms("SMALL.first", "octets", 1_500_000),
        ),
    ),
    PackageTerms(
        "BIG", 9_990_000, 9_000, (BucketTerms("BIG.data", "octets", None), BucketTerms("BIG.voice", "seconds", 600))
    ),
]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of service. `windows` are one rate at different times of the day: one name and steps, other prices."""

    windows: tuple[PriceTerms, ...]
    buckets: tuple[str, ...]
    usual: int
    """Raw units used or wanted at a time."""
    unit: Unit


def _kind(
    name: str, unit: Unit, usual: int, *micro_eur: int, buckets: tuple[str, ...] = (), quantity: int = 1, **steps: Any
) -> Kind:
    windows = tuple(compile_price(name, unit=unit, micro_eur=each, quantity=quantity, **steps) for each in micro_eur)
    return Kind(windows, buckets, usual, unit)


DATA: dict[str, Any] = {
    "quantity": 2**20,
    "first": 1024,
    "next_": 1024,
    "buckets": ("SMALL.first", "SMALL.data", "BIG.data"),
}
DEAR: dict[str, Any] = {"quantity": 2**20, "first": 102_400, "next_": 10_240, "rounding": "up"}
VOICE: dict[str, Any] = {"quantity": 60, "first": 60, "next_": 7, "rounding": "down", "buckets": ("BIG.voice",)}
KINDS = {
    "data": _kind("data", Unit.OCTETS, 4_000_000, 690_000, 69_001, **DATA),
    "dear": _kind("dear", Unit.OCTETS, 500_000, 5_120_007, 7_300_001, **DEAR),
    "voice": _kind("voice", Unit.SECONDS, 300, 146_401, 99_000, **VOICE),
    "call": _kind("call", Unit.SECONDS, 300, 500_000, 350_000, flat=True),
    "sms": _kind("sms", Unit.MESSAGES, 2, 237_901, quantity=3, buckets=("SMALL.sms",)),
    "incoming": Kind((free_price("incoming", Unit.SECONDS),), (), 600, Unit.SECONDS),
}


def _numbers() -> tuple[str, ...]:
    """MSISDNs of three accounts: two in one partition, one in another."""
    keys = Keys(PARTITIONS)
    numbers = [f"3866810000{n}" for n in range(10)]
    near = [n for n in numbers if keys.partition_of_name("m" + n) == keys.partition_of_name("m" + numbers[0])]
    far = [n for n in numbers if n not in near]
    return (*near[:2], far[0])


NUMBERS = _numbers()
