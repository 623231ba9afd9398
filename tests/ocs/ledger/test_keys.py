"""Keys: hash tags are spread evenly over the cluster's slots, and account ids contain their partition."""

from __future__ import annotations

from itertools import pairwise

import pytest
from redis.crc import key_slot

from ocs.ledger.redis.keys import MAX_PARTITIONS, SLOTS, Keys, account_id_of_key


@pytest.mark.parametrize("partitions", [1, 2, 3, 7, 64, MAX_PARTITIONS])
def test_the_partitions_lie_evenly_over_the_slots(partitions: int) -> None:
    keys = Keys(partitions)
    slots = [each.slot for each in keys.by_partition]
    for partition, slot in enumerate(slots):
        assert partition * SLOTS // partitions <= slot < (partition + 1) * SLOTS // partitions
    assert all(first < second for first, second in pairwise(slots))
    # So masters with equal slot ranges have equal numbers of partitions, except for one at each border.
    for masters in (3, 6):
        shares = [sum(1 for slot in slots if slot * masters // SLOTS == master) for master in range(masters)]
        assert max(shares) - min(shares) <= 2


def test_all_keys_of_a_partition_have_its_slot() -> None:
    for partition in Keys(64).by_partition:
        names = (
            *(partition.account + b"00-1", partition.answers + b"s;{x}", partition.subscribers, partition.references),
            *(partition.outbox, partition.sequence, partition.due),
        )
        assert {key_slot(name) for name in names} == {partition.slot}
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("partitions", [0, -1, MAX_PARTITIONS + 1])
def test_too_few_or_too_many_partitions(partitions: int) -> None:
    with pytest.raises(ValueError, match="1 to 16384 are allowed"):
        Keys(partitions)


def test_an_account_id_names_its_partition_and_nothing_else() -> None:
    keys = Keys(64)
    account_id = keys.new_account_id("38668100000", 0xABC)
    assert keys.partition_of_account(account_id) == keys.partition_of_name("m38668100000")
    assert account_id.endswith("-0000000000000abc") and "38668100000" not in account_id
    assert account_id_of_key(keys.by_partition[3].account + account_id.encode()) == account_id


@pytest.mark.parametrize("wrong", ["", "x", "no account", "64-0000000000000001", "99-1", "-1-0000000000000001"])
def test_invalid_account_ids(wrong: str) -> None:
    with pytest.raises(ValueError):
        Keys(64).partition_of_account(wrong)


def test_names_are_spread_over_the_partitions() -> None:
    keys = Keys(64)
    counts = [0] * 64
    for n in range(6400):
        counts[keys.partition_of_name(f"m386681{n:05d}")] += 1
    assert min(counts) > 50 and max(counts) < 150
