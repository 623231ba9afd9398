"""Versions of the catalogue: which one is in force, when the next one starts, and what all must have in common."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from ocs.catalogue.catalogue import CatalogueError
from ocs.catalogue.versions import Catalogues, content_digest, digest_of, load_versions
from ocs.values.use import Context, UseEvent
from tests.ocs.catalogue.test_catalogue_file import SMALL, mistakes

DECEMBER = int(datetime(2026, 12, 1, tzinfo=ZoneInfo("Europe/Ljubljana")).timestamp())


def version(name: str, valid_from: str = "", *pairs: tuple[str, str], text: str = SMALL) -> str:
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text.replace("[catalogue]\n", f'[catalogue]\nversion = "{name}"\nvalid_from = "{valid_from}"\n', 1)


FIRST, SECOND = version("1"), version("2", "2026-12-01T00:00", ("micro_eur = 10\n", "micro_eur = 20\n"))


def folder(path: Path, *texts: str) -> Path:
    path = path / "catalogue"
    path.mkdir(exist_ok=True)
    for number, text in enumerate(texts):
        (path / f"{number}.toml").write_text(text, encoding="utf-8")
    return path


def problems(path: Path, *texts: str) -> list[str]:
    with pytest.raises(CatalogueError) as caught:
        load_versions(folder(path, *texts))
    return [str(each).removeprefix(f"{path}/catalogue/") for each in caught.value.problems]


def use(at: int) -> UseEvent:
    return UseEvent(Context.DATA, rating_group=1, serving_plmn="29340", at=at)


def test_versions_are_ordered_by_their_start(tmp_path: Path) -> None:
    versions = load_versions(folder(tmp_path, SECOND, FIRST))
    assert [(each.version, each.begins_at) for each in versions] == [("1", 0), ("2", DECEMBER)]
    catalogues = Catalogues(versions, lambda: DECEMBER - 1)
    assert catalogues.in_force().version == "1"
    assert [catalogues.at(DECEMBER + away).version for away in (-1, 0, 1, -1)] == ["1", "2", "2", "1"]


def test_the_start_of_a_version_is_a_price_switch(tmp_path: Path) -> None:
    catalogues = Catalogues(load_versions(folder(tmp_path, FIRST, SECOND)), lambda: 0)
    before, after = catalogues.rate(use(DECEMBER - 59)), catalogues.rate(use(DECEMBER))
    assert (before.switch_at, before.price_after) == (DECEMBER, after.price)
    assert (before.price.id.rpartition("/")[2], after.price.id.rpartition("/")[2]) == ("1", "2")
    assert after.switch_at == 0
    assert catalogues.rate(use(DECEMBER - 60)).switch_at == 0, "no grant lives so long (validity_s = 60)"
    assert catalogues.rate(use(DECEMBER - 59)) is before, "made once"


def test_the_earlier_of_two_switches_counts(tmp_path: Path) -> None:
    window = 'micro_eur = 10\nwindow = [{ days = ["mon"], from = "23:59", to = "24:00", micro_eur = 5 }]\n'
    timed = version("1", "", ("micro_eur = 10\n", window), ("validity_s = 60", "validity_s = 600"))
    catalogues = Catalogues(load_versions(folder(tmp_path, timed, SECOND)), lambda: 0)
    early, late = catalogues.rate(use(DECEMBER - 90)), catalogues.rate(use(DECEMBER - 30))  # 30 November is a Monday
    assert (early.switch_at, late.switch_at) == (DECEMBER - 60, DECEMBER)
    assert early.price_after == late.price and late.price_after == catalogues.rate(use(DECEMBER)).price


def test_a_grant_ends_where_the_next_version_has_no_rate(tmp_path: Path) -> None:
    without = version(
        "2",
        "2026-12-01T00:00",
        ('[rate.data]\nservice = "data"\nplaces = ["*"]', '[rate.data]\nservice = "data"\nplaces = ["eu"]'),
    )
    catalogues = Catalogues(load_versions(folder(tmp_path, FIRST, without)), lambda: 0)
    rated = catalogues.rate(use(DECEMBER - 10))
    assert (rated.switch_at, rated.price_after) == (DECEMBER, None)


def test_terms_of_products_by_version(tmp_path: Path) -> None:
    dear = ('price_eur = "12.20"\nnet_eur = "10.00"', 'price_eur = "24.40"\nnet_eur = "20.00"')
    dearer = version("2", "2026-12-01T00:00", dear)
    same = version("3", "2027-01-01T00:00", dear, ("micro_eur = 10\n", "micro_eur = 30\n"))
    terms = Catalogues(load_versions(folder(tmp_path, FIRST, dearer, same)), lambda: 0).product_terms()
    assert [(at, each.price_micro_eur) for at, each in terms["P"]] == [(0, 12_200_000), (DECEMBER, 24_400_000)]


IN_MESSAGES = (
    ('unit = "seconds"\ndefault', 'unit = "messages"\ndefault'),
    ('per = "1 min"\nfirst = "60 s"\nnext = "1 s"', 'per = "1 message"'),
    ('"5 min", minimum = "1 s", maximum = "1 h"', '"1 message", minimum = "1 message", maximum = "9 messages"'),
    ('bucket.voice = { unit = "seconds"', 'bucket.voice = { unit = "messages"'),
)  # fmt: skip
VOICE_BUCKET = 'bucket.voice = { unit = "seconds", quantity = "unlimited" }\n'
NOW_IN = "service.voice.unit = 'messages'", "must be 'seconds' as in version 1"


@pytest.mark.parametrize(
    ("pairs", "key", "allowed"),
    [
        (IN_MESSAGES, *NOW_IN),
        ((("kilo = 1000", "kilo = 1024"),), "catalogue.kilo = 1024", "must be 1000"),
        ((('"Europe/Ljubljana"', '"UTC"'),), "catalogue.time_zone", "must be 'Europe/Ljubljana'"),
        ((("[package.P]", "[package.Q]"),), "package.P", "is missing, version 1 has it"),
        ((("[package.P]\n", '[package.P]\nkind = "pack"\n'),), "package.P.kind = 'pack'", "must be 'tariff'"),
        (((VOICE_BUCKET, ""), ('buckets = ["voice"]\n', "")), "package.P.bucket.voice", "is missing"),
    ],
)
def test_an_id_has_one_meaning_in_all_versions(
    tmp_path: Path, pairs: tuple[tuple[str, str], ...], key: str, allowed: str
) -> None:
    found = problems(tmp_path, FIRST, version("2", "2026-12-01T00:00", *pairs))
    assert any(line.startswith(f"1.toml: {key}") and allowed in line for line in found), found


def test_versions_have_different_names_and_starts(tmp_path: Path) -> None:
    found = problems(tmp_path, FIRST, version("1", "2026-12-01T00:00"), version("3", "2026-12-01T00:00"))
    assert [line.partition(": ")[2].partition(" = ")[0] for line in found] == [
        "catalogue.version",
        "catalogue.valid_from",
    ]


def test_all_errors_of_all_files_are_reported(tmp_path: Path) -> None:
    found = problems(
        tmp_path, FIRST.replace("vat_percent = 22", "vat_percent = 220"), SECOND.replace("kilo = 1000", "kilo = 1")
    )
    assert [line.partition(" =")[0] for line in found] == ["0.toml: catalogue.vat_percent", "1.toml: catalogue.kilo"]


def test_a_folder_without_versions_is_no_catalogue(tmp_path: Path) -> None:
    (line,) = problems(tmp_path)
    assert line.endswith("has no *.toml file: a folder holds versions of the catalogue")


@pytest.mark.parametrize("value", ["1 2", "a/b", "", "x" * 25])
def test_the_format_of_a_versions_name(tmp_path: Path, value: str) -> None:
    (line,) = mistakes(tmp_path, version(value))
    assert "catalogue.version" in line and "a name of at most 24 letters" in line


@pytest.mark.parametrize("value", ["2026-12-01", "2026-13-01T00:00", "2026-12-01T24:00", "tomorrow"])
def test_the_start_of_a_version_is_a_local_time(tmp_path: Path, value: str) -> None:
    (line,) = mistakes(tmp_path, version("2", value))
    assert "catalogue.valid_from" in line and "2026-12-01T00:00" in line


@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        ("2027-03-28T02:30", "does not exist in Europe/Ljubljana"),
        ("2027-03-28T02:00", "does not exist in Europe/Ljubljana"),
        ("2026-10-25T02:00", "occurs twice in Europe/Ljubljana: say which, 2026-10-25T02:00+01:00 or "),
        ("2026-10-25T02:59", "occurs twice in Europe/Ljubljana: say which, 2026-10-25T02:59+01:00 or "),
        ("2026-10-25T02:30+03:00", "is no local time of Europe/Ljubljana with that offset"),
        ("2027-03-28T02:30+01:00", "is no local time of Europe/Ljubljana with that offset"),
        ("2026-12-01T00:00+02:00", "is no local time of Europe/Ljubljana with that offset"),
    ],
)
def test_the_start_of_a_version_is_one_moment(tmp_path: Path, value: str, allowed: str) -> None:
    (line,) = problems(tmp_path, FIRST, version("2", value))
    assert line.startswith("1.toml: catalogue.valid_from") and value in line and allowed in line


@pytest.mark.parametrize(
    ("value", "utc"),
    [
        ("2026-10-25T02:30+02:00", "2026-10-25T00:30Z"),
        ("2026-10-25T02:30+01:00", "2026-10-25T01:30Z"),
        ("2026-10-25T03:00", "2026-10-25T02:00Z"),
        ("2026-10-25T01:59", "2026-10-24T23:59Z"),
        ("2027-03-28T03:00", "2027-03-28T01:00Z"),
        ("2027-03-28T01:59", "2027-03-28T00:59Z"),
        ("2026-12-01T00:00+01:00", "2026-11-30T23:00Z"),
    ],
)
def test_the_start_of_a_version_at_daylight_saving(tmp_path: Path, value: str, utc: str) -> None:
    _, second = load_versions(folder(tmp_path, FIRST, version("2", value)))
    assert second.begins_at == datetime.fromisoformat(utc).timestamp()


def test_two_files_are_compared_by_content_and_not_by_text(tmp_path: Path) -> None:
    texts = {"a": FIRST, "b": FIRST.replace("\n", "  # said\n", 3), "c": SECOND}
    for name in texts:
        (tmp_path / name).mkdir()
    one, other, third = (load_versions(folder(tmp_path / name, text))[0] for name, text in texts.items())
    assert content_digest(one) == content_digest(other) != content_digest(third)
    assert digest_of(tmp_path / "a" / "catalogue") != digest_of(tmp_path / "b" / "catalogue")
