"""The table of ported numbers: what is read, what is refused, what it costs, and that it decides before the prefix."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ocs.catalogue import ported_numbers
from ocs.catalogue.catalogue import parse_catalogue
from ocs.catalogue.ported_numbers import (
    ALLOWED,
    NONE,
    PortedNumbers,
    PortedNumbersError,
    lines_with_two_networks,
    read_ported_numbers,
)
from ocs.catalogue.problems import CatalogueError
from ocs.values.use import Context, UseEvent
from tests.catalogue import fixed_catalogue
from tests.ocs.rules.world import CATALOGUE
from tests.rules import rule

TEXT = CATALOGUE.read_text()
WITH_NETWORKS = TEXT.replace("[destination.national-mobile]\n", '[destination.national-mobile]\nnetworks = ["A1"]\n')
WITH_NETWORKS = WITH_NETWORKS.replace(
    "[destination.national-fixed]\n", '[destination.national-fixed]\nnetworks = ["fixnet"]\n'
)
MOBILE, FIXED = "38631234567", "38612345678"


def table(folder: Path, text: str) -> PortedNumbers:
    file = folder / "ported.csv"
    file.write_text(text)
    return read_ported_numbers(file)


def refused(folder: Path, text: str) -> list[str]:
    with pytest.raises(PortedNumbersError) as caught:
        table(folder, text)
    return [line.removeprefix(f"{folder / 'ported.csv'}") for line in caught.value.mistakes]


def test_what_is_read(tmp_path: Path) -> None:
    numbers = table(tmp_path, f"Number,Network\n\n# ported\n+{MOBILE},A1\n{FIXED};fixnet\r\n{MOBILE},a1\n")
    assert len(numbers) == 2 and numbers.count() == {"a1": 1, "fixnet": 1}
    assert [numbers.network_of(each) for each in (MOBILE, FIXED, "38631234568", "1", "386312345670")] == [
        "a1",
        "fixnet",
        None,
        None,
        None,
    ]


def test_without_a_table_nothing_is_ported(tmp_path: Path) -> None:
    assert NONE.network_of(MOBILE) is None and len(table(tmp_path, "")) == 0


@pytest.mark.parametrize(
    "line", ["031234567,a1", "38631234567", "38631234567,", "3863123456789012,a1", "abc,a1", "38631234567,a 1", "1,a"]
)
def test_a_wrong_line_is_named_without_its_number(tmp_path: Path, line: str) -> None:
    assert refused(tmp_path, f"{MOBILE},a1\n{line}\n{FIXED},a1\n") == [f", line 2: {ALLOWED}"]


def test_more_wrong_lines_are_counted(tmp_path: Path) -> None:
    told = refused(tmp_path, "?\n" * 25)
    assert (len(told), told[0], told[-1]) == (21, f", line 1: {ALLOWED}", ": 5 more")


def test_a_number_with_two_networks(tmp_path: Path) -> None:
    text = f"{MOBILE},a1\n{FIXED},a1\n+{MOBILE},fixnet\n"
    assert refused(tmp_path, text) == [": 1 number has two networks; `ocs numbers check` names their lines"]
    file = tmp_path / "ported.csv"
    assert lines_with_two_networks(file) == [f"{file}, line 3: the number has another network than in line 1"]


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ported_numbers, "MAX_NUMBERS", 2)
    assert "is one too many: at most 2 numbers" in refused(tmp_path, "38611111,a\n38611112,a\n38611113,a\n")[0]
    monkeypatch.setattr(ported_numbers, "MAX_NETWORKS", 1)
    assert refused(tmp_path, "38611111,a\n38611112,b\n") == [", line 2: names one network too many: at most 1"]


@pytest.mark.parametrize("chunk", [1, 7, 100_000])
def test_any_order_in_any_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(ported_numbers, "CHUNK", chunk)
    choose, pauses = random.Random(4), 0
    wanted = {str(choose.randrange(10**4, 10**15)): choose.choice("abc") for _ in range(500)}
    file = tmp_path / "ported.csv"
    file.write_text("".join(f"{number},{network}\n" for number, network in wanted.items()))

    def pause() -> None:
        nonlocal pauses
        pauses += 1

    numbers = read_ported_numbers(file, pause)
    assert {number: numbers.network_of(number) for number in wanted} == wanted
    assert pauses >= 500 // chunk


def test_a_number_takes_eight_octets(tmp_path: Path) -> None:
    """3 million take 24 MB."""
    numbers = table(tmp_path, "".join(f"3863{n:07d},a1\n" for n in range(10_000)))
    packed = numbers._packed
    assert packed.itemsize * len(packed) == 80_000


# -- destinations


def label(catalogue_text: str, numbers: PortedNumbers, party: str, **more: str) -> str:
    catalogue = parse_catalogue(catalogue_text, "list")
    event = UseEvent(Context.IMS, other_party=party, serving_plmn=more.get("plmn"))
    before = catalogue.rate(event).destination
    catalogue.use_ported(numbers)
    after = catalogue.rate(event).destination
    catalogue.use_ported(NONE)
    assert catalogue.rate(event).destination == before, "the cache follows the table"
    return after


@rule("HOT-RAT-1")
@pytest.mark.parametrize(
    ("line", "party", "expected"),
    [
        (f"{FIXED},A1", f"+{FIXED}", "national-mobile"),
        (f"{MOBILE},FixNet", "tel:031-234-567", "national-fixed"),
        (f"{MOBILE},unknown", f"+{MOBILE}", "national-mobile"),
        ("38631234568,fixnet", f"+{MOBILE}", "national-mobile"),
        ("38668686868,fixnet", "+38668686868", "help-centre"),
        ("386112,fixnet", "+386112", "emergency"),
        ("4366412345678,fixnet", "+4366412345678", "national-fixed"),
    ],
)
def test_the_network_decides_before_the_prefix(tmp_path: Path, line: str, party: str, expected: str) -> None:
    """The operator's own numbers and emergency numbers come first."""
    assert label(WITH_NETWORKS, table(tmp_path, f"{line}\n"), party) == expected


def test_a_network_belongs_to_one_class() -> None:
    text = WITH_NETWORKS.replace('networks = ["fixnet"]', 'networks = ["fixnet", "a1"]')
    with pytest.raises(CatalogueError) as caught:
        parse_catalogue(text, "list")
    assert "destination.national-fixed.networks[1]" in str(caught.value)


def test_the_shipped_catalogue_names_none() -> None:
    assert fixed_catalogue().networks == {}
