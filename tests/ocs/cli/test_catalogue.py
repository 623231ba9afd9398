"""`ocs catalogue …` as an engineer types it. `load` beside a running server: tests/faults/test_catalogue_load.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from ocs.catalogue.catalogue import load_catalogue, parse_catalogue
from ocs.values.use import Context, Direction, UseEvent
from tests.catalogue import CATALOGUE
from tests.ocs.cli.conftest import Done, Ocs
from tests.rules import rule

ROOT = Path(__file__).parents[3]
TEXT = CATALOGUE.read_text(encoding="utf-8")
SETTINGS = """
[[peer]]
origin_host = "pgw.example.net"
realm = "example.net"
[ledger]
durability = "everysec"
"""
LATER = 'version = "2"\nvalid_from = "2036-12-01T00:00"'
CREATE = ("account", "create", "--msisdn", "38668100000", "--imsi", "293400000000000", "--credit", "5")
Call = Callable[..., Done]


def changed(*pairs: tuple[str, str]) -> str:
    text = TEXT
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


@pytest.fixture
def ocs(tmp_path: Path, ocs_in: Ocs) -> Call:
    """In a folder with settings, the catalogue and two files of version 2: one right, one wrong."""
    (tmp_path / "ocs.toml").write_text(SETTINGS, encoding="utf-8")
    (tmp_path / "catalogue.toml").write_text(TEXT, encoding="utf-8")
    later = changed(('version = "1"', LATER), ("micro_eur = 6_900\n", "micro_eur = 9_000\n"), ("9 GB", "12 GB"))
    (tmp_path / "later.toml").write_text(later, encoding="utf-8")
    wrong = later.replace("kilo = 1024", "kilo = 1000").replace("vat_percent = 22", "vat_percent = -1")
    (tmp_path / "wrong.toml").write_text(wrong, encoding="utf-8")

    def call(*words: str) -> Done:
        more = () if words[1] == "import-prices" else ("--config", "ocs.toml")
        return ocs_in(*words, *more, cwd=tmp_path)

    return call


# -- check


def test_check_tells_what_is_right_and_what_is_an_example(ocs: Call) -> None:
    done = ocs("catalogue", "check", "catalogue.toml", "later.toml")
    assert done.returncode == 0, done.stderr
    assert [line.partition(",")[0] for line in done.stdout.splitlines()] == [
        "catalogue.toml: version 1 is right",
        "later.toml: version 2 is right",
    ]
    assert ocs("catalogue", "check").stdout.count("version 1 is right") == 1, "that of the settings"


def test_check_for_production_refuses_examples(ocs: Call) -> None:
    done = ocs("catalogue", "check", "--production")
    assert done.returncode == 1
    assert "price.data-national: is illustrative" in done.stderr and "destination.zone3" in done.stderr
    assert len(done.stderr.splitlines()) == len(load_catalogue(CATALOGUE).illustrative)


def test_check_names_every_mistake_and_what_versions_contradict_each_other_in(ocs: Call) -> None:
    alone = ocs("catalogue", "check", "wrong.toml")
    assert alone.returncode == 1 and "wrong.toml: catalogue.vat_percent = -1" in alone.stderr
    together = ocs("catalogue", "check", "later.toml", "catalogue.toml", "later.toml")
    assert together.returncode == 1 and "later.toml: catalogue.version = '2'" in together.stderr


def test_check_says_of_a_folder_without_versions_that_it_has_none(tmp_path: Path, ocs: Call) -> None:
    (tmp_path / "empty").mkdir()
    done = ocs("catalogue", "check", "catalogue.toml", "empty")
    assert done.returncode == 1 and "empty: " in done.stderr


# -- diff


def test_diff_in_words_and_as_data(ocs: Call) -> None:
    done = ocs("catalogue", "diff", "1", "later.toml")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "catalogue.version: 1 -> 2",
        "catalogue.valid_from: nothing -> 2036-12-01T00:00",
        "price.data-national.micro_eur: 6900 -> 9000 (+30.4 %)",
        "package.MINI.bucket.data.quantity: 9 GB -> 12 GB (+33.3 %)",
    ]
    price = json.loads(ocs("catalogue", "diff", "catalogue.toml", "later.toml", "--json").stdout)[2]
    assert price == {
        "kind": "changed",
        "key": "price.data-national.micro_eur",
        "before": 6900,
        "after": 9000,
        "percent": "+30.4",
    }


def test_diff_of_lists_and_of_tables_that_come_and_go(tmp_path: Path, ocs: Call) -> None:
    other = changed(
        ('"AT", "BE"', '"BE"'),
        ("[price.mms-world]", "[price.mms-far]"),
        ('price = "mms-world"', 'price = "mms-far"'),
        ('price = "mms-world"', 'price = "mms-far"'),
    )
    (tmp_path / "other.toml").write_text(other, encoding="utf-8")
    lines = ocs("catalogue", "diff", "catalogue.toml", "other.toml").stdout.splitlines()
    assert "place.eu.countries: - AT" in lines
    assert any(line.startswith("price.mms-world: removed (micro_eur 990000") for line in lines)
    assert any(line.startswith("price.mms-far: added") for line in lines)
    assert 'rate."mms.world.out".price: mms-world -> mms-far' in lines
    assert ocs("catalogue", "diff", "1", "1").stdout == "nothing changes\n"


def test_diff_of_what_there_is_not(ocs: Call) -> None:
    assert ocs(*CREATE).returncode == 0
    done = ocs("catalogue", "diff", "1", "9")
    assert done.returncode == 2 and "9 is neither a file nor a version; there are 1" in done.stderr


# -- load and list, with nobody to ask


def test_load_and_list_without_a_server(tmp_path: Path, ocs: Call) -> None:
    assert ocs(*CREATE).returncode == 0
    loaded = ocs("catalogue", "load", "later.toml")
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout == "version 2 is loaded, valid from 2036-12-01T00:00:00+01:00: 0 processes can use it\n"
    assert ocs("catalogue", "load", "later.toml").stdout.startswith("version 2 was loaded before")
    rows = json.loads(ocs("catalogue", "list", "--json").stdout)
    assert [(row["version"], row["valid_from"], row["in_force"], row["in_file"]) for row in rows] == [
        ("1", None, True, True),
        ("2", "2036-12-01T00:00:00+01:00", False, False),
    ]
    assert all(row["loaded_by"] and row["loaded_at"] for row in rows)
    assert "2036-12-01" in ocs("catalogue", "list").stdout
    (tmp_path / "catalogue.toml").write_text(TEXT.replace("micro_eur = 6_900", "micro_eur = 6_901"), encoding="utf-8")
    other = ocs("account", "show", "38668100000")
    assert other.returncode == 1 and "the ledger has a version of this name that says otherwise" in other.stderr


@pytest.mark.parametrize(
    ("pairs", "key", "allowed"),
    [
        (('valid_from = "2036-12-01T00:00"', 'valid_from = "2020-12-01T00:00"'), "valid_from", "must be in the future"),
        (('valid_from = "2036-12-01T00:00"', ""), "valid_from", "is missing"),
        (('version = "2"', 'version = "1"'), "version", "give each version a name of its own"),
        (("kilo = 1024", "kilo = 1000"), "kilo", "must be 1024 as in version 1"),
        (("vat_percent = 22", "vat_percent = 101"), "vat_percent", "less than or equal to 100"),
    ],
)
def test_a_version_that_cannot_be_is_refused_and_nothing_changes(
    tmp_path: Path, ocs: Call, pairs: tuple[str, str], key: str, allowed: str
) -> None:
    assert ocs(*CREATE).returncode == 0
    file = tmp_path / "later.toml"
    text = file.read_text(encoding="utf-8")
    assert pairs[0] in text
    file.write_text(text.replace(*pairs, 1), encoding="utf-8")
    done = ocs("catalogue", "load", "later.toml")
    assert done.returncode == 1 and allowed in done.stderr, done.stderr
    assert f"later.toml: catalogue.{key}" in done.stderr
    assert len(json.loads(ocs("catalogue", "list", "--json").stdout)) == 1


# -- price sheets

SHEET = """\ufeffCona;Države;Cena na minuto (EUR z DDV);Cena SMS;Obračunski interval
zone2;RS, BA, ME, MK;0,49;0,12;60/1
zone9;US CA;0,99 €;0,15;60/60
"""


def write(tmp_path: Path, text: str, encoding: str = "utf-8") -> None:
    (tmp_path / "sheet.csv").write_bytes(text.encode(encoding))


def rate_of(path: Path, number: str, context: Context = Context.IMS) -> tuple[str, int, int]:
    """Price id's rate, micro-EUR for a minute or a message, first step, of use from home."""
    event = UseEvent(context, Direction.ORIGINATING, serving_plmn="29340", other_party=number)
    price = load_catalogue(path).rate(event).price
    units = 60 if context is Context.IMS else 1
    return price.id.partition("@")[0], price.num * units // price.den, price.next


def test_a_price_sheet_becomes_tables_and_the_rest_of_the_file_stays(tmp_path: Path, ocs: Call) -> None:
    write(tmp_path, SHEET)
    shown = ocs("catalogue", "import-prices", "sheet.csv", "--into", "catalogue.toml", "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "price.voice-zone2.micro_eur: 500000 -> 490000 (-2.0 %)" in shown.stdout
    path = tmp_path / "catalogue.toml"
    assert path.read_text(encoding="utf-8") == TEXT, "a dry run writes nothing"
    done = ocs("catalogue", "import-prices", "sheet.csv", "--into", "catalogue.toml")
    assert done.returncode == 0 and done.stdout == shown.stdout
    assert rate_of(path, "tel:+381641234567") == ("voice.zone2", 490_000, 1)
    assert rate_of(path, "tel:+12125550123") == ("voice.zone9", 990_000, 60)
    assert rate_of(path, "tel:+381641234567", Context.SMS) == ("sms.zone2", 120_000, 1)
    assert rate_of(path, "tel:+2348021234567", Context.SMS) == ("sms.international", 150_000, 1), "as it was"
    text = path.read_text(encoding="utf-8")
    comments = [line for line in TEXT.splitlines() if line.startswith("#")]
    assert [line for line in text.splitlines() if line.startswith("#")] == comments
    before, after = TEXT.splitlines(), text.splitlines()
    assert before.index('[rate."voice.emergency"] # HOT-RAT-2') < after.index('[rate."voice.emergency"] # HOT-RAT-2')
    assert after.index("[price.voice-zone9]") < next(n for n, line in enumerate(after) if line.endswith("- rates"))
    again = ocs("catalogue", "import-prices", "sheet.csv", "--into", "catalogue.toml")
    assert again.returncode == 0 and again.stdout == "" and path.read_text(encoding="utf-8") == text


ENGLISH = "Zone,Countries,Minute,SMS,Interval\nzone2,RS BA ME MK,0.49,0.12,60/1\nzone9,US/CA,0.99,0.15,60\n"
QUOTED = """Zone,Countries,Minute,SMS,First,Next
zone2,"RS,BA,ME,MK","0,49","0,12",60 s,1 s
zone9,"US,CA","0,99","0,15",1 min,
"""
TABS = """zone\tcountries\tprice per minute\tprice per SMS\tinterval
zone2\tRS;BA;ME;MK\tEUR 0.490\t0.12\t60/1
zone9\tUS;CA\t0.99\t0.15\t60
"""


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (SHEET.replace("\ufeff", ""), "cp1250"),
        (SHEET.replace("\ufeff", ""), "utf-16"),
        (ENGLISH, "utf-8"),
        (QUOTED, "utf-8"),
        (TABS, "utf-8"),
    ],
)
def test_the_same_sheet_in_other_spellings(tmp_path: Path, ocs: Call, text: str, encoding: str) -> None:
    write(tmp_path, SHEET)
    assert ocs("catalogue", "import-prices", "sheet.csv", "--into", "catalogue.toml", "--out", "a.toml").returncode == 0
    write(tmp_path, text, encoding)
    done = ocs("catalogue", "import-prices", "sheet.csv", "--into", "catalogue.toml", "--out", "b.toml")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.toml").read_text() == (tmp_path / "b.toml").read_text()
    assert (tmp_path / "catalogue.toml").read_text(encoding="utf-8") == TEXT


def test_a_sheet_of_places(tmp_path: Path, ocs: Call) -> None:
    write(
        tmp_path,
        "cona;države;minuta;dohodna minuta;SMS;MB;interval podatkov\nworld-9;US,CA;2,99;1,49;0,39;9,90;10 kB\n",
    )
    done = ocs("catalogue", "import-prices", "sheet.csv", "--into", "catalogue.toml", "--kind", "place")
    assert done.returncode == 0, done.stderr
    catalogue = load_catalogue(tmp_path / "catalogue.toml")
    data = catalogue.rate(UseEvent(Context.DATA, serving_plmn="310260")).price
    assert data.id.startswith("data.world-9@") and data.num * 2**20 // data.den == 9_900_000 and data.first == 10_240
    call = UseEvent(Context.IMS, Direction.ORIGINATING, serving_plmn="310260", other_party="tel:+38631234567")
    assert catalogue.rate(call).price.id.startswith("voice.world-9.out@")
    assert (
        catalogue.rate(UseEvent(Context.IMS, Direction.TERMINATING, serving_plmn="310260")).label == "voice.world-9.in"
    )


def test_prices_without_vat(tmp_path: Path, ocs: Call) -> None:
    write(tmp_path, "zone;minute\nzone2;1\n")
    assert ocs("catalogue", "import-prices", "sheet.csv", "--into", "catalogue.toml", "--net").returncode == 0
    assert rate_of(tmp_path / "catalogue.toml", "tel:+381641234567")[1] == 1_220_000


def test_every_mistake_of_a_sheet_is_told_by_row_and_column(tmp_path: Path, ocs: Call) -> None:
    rows = [
        "Cona;Države;Predpone;Cena minute;Interval",
        "zone 2!;RS;;0,49;60/1",
        "zone3;XX;+38x;half;0/0",
        ";;;;",
        "zone4;RS;;;60",
        "zone4;;;201;",
    ]
    write(tmp_path, "\n".join(rows))
    done = ocs("catalogue", "import-prices", "sheet.csv", "--into", "catalogue.toml")
    assert done.returncode == 1
    told = [
        line.removeprefix("ocs: sheet.csv: ").partition(" = ")[0].partition(": ")[0]
        for line in done.stderr.splitlines()
    ]
    assert told == [
        "row 2, column Cona",
        "row 3, column Države",
        "row 3, column Predpone",
        "row 3, column Cena minute",
        "row 3, column Interval",
        "row 3, column Interval",
        "row 5, column Cona",
        "row 6, column Cena minute",
        "row 5, column Države",
        "row 6, column Cona",
    ]  # fmt: skip
    assert (tmp_path / "catalogue.toml").read_text(encoding="utf-8") == TEXT


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no row below its header"),
        ("a;b\n1;2\n", 'has no column "zone"'),
        ("zone;countries\nzone2;RS\n", "has no column"),
        ("zone;sms;SMS\nzone2;1;1\n", "is a second column of sms"),
        ("zone;mb\nzone2;1\n", "a destination has no price of mb"),
        ("zone;countries;minute\nzone5;NG;1\n", ""),
        ("zone;countries;minute\nzone5;RS;1\n", "RS"),
    ],
)
def test_sheets_that_are_none_or_contradict_the_catalogue(tmp_path: Path, ocs: Call, text: str, told: str) -> None:
    write(tmp_path, text)
    done = ocs("catalogue", "import-prices", "sheet.csv", "--into", "catalogue.toml")
    assert (done.returncode == 0) is not bool(told), done.stderr
    assert told in done.stderr


def imported(tmp_path: Path, ocs: Call, sheet: str, *more: str) -> Path:
    write(tmp_path, sheet)
    done = ocs("catalogue", "import-prices", "sheet.csv", "--into", "catalogue.toml", *more)
    assert done.returncode == 0, done.stderr
    return tmp_path / "catalogue.toml"


@rule("HOT-ROA-5")
def test_a_new_place_counts_data_to_the_roaming_cap_like_the_others(tmp_path: Path, ocs: Call) -> None:
    """HOT-ROA-5: 60 EUR a month, wherever abroad."""
    sheet = "zone;countries;mb\nworld-1;CH,GB,MD,XK;2,90\nworld-4;TR,UA;1,90\n"
    catalogue = load_catalogue(imported(tmp_path, ocs, sheet, "--kind", "place"))
    rated = catalogue.rate(UseEvent(Context.DATA, serving_plmn="28601"))
    assert rated.label == "data.world-4" and "roaming-data" in {each.id for each in rated.counters}


@rule("HOT-PKG-3")
def test_a_zone_that_leaves_a_shared_rate_keeps_its_units(tmp_path: Path, ocs: Call) -> None:
    """HOT-PKG-3: minutes of the package pay for calls to mobiles, whatever these cost."""
    path = imported(tmp_path, ocs, "zone;minute;interval\nnational-mobile;0,049;60/1\n")
    assert rate_of(path, "tel:+38631234567") == ("voice.national-mobile", 49_000, 1)
    event = UseEvent(Context.IMS, Direction.ORIGINATING, serving_plmn="29340", other_party="tel:+38631234567")
    assert load_catalogue(path).rate(event).buckets == parse_catalogue(TEXT, "shipped").rate(event).buckets != ()


@rule("HOT-CC-5")
def test_a_zone_of_the_catalogue_gets_no_bars_by_the_way(tmp_path: Path, ocs: Call) -> None:
    """HOT-CC-5: who bars calls abroad may call numbers of the country."""
    path = imported(tmp_path, ocs, "zone;countries;minute\nnational-fixed;SI;0,049\n")
    event = UseEvent(Context.IMS, Direction.ORIGINATING, serving_plmn="29340", other_party="tel:+38612345678")
    assert load_catalogue(path).rate(event).bars == ()


def test_a_zone_that_is_rated_at_all_places_stays_so(tmp_path: Path, ocs: Call) -> None:
    path = imported(tmp_path, ocs, "zone;minute\npremium;1,60\n")
    for plmn in ("29340", "22003"):
        event = UseEvent(Context.IMS, Direction.ORIGINATING, serving_plmn=plmn, other_party="tel:+38690123456")
        rated = load_catalogue(path).rate(event)
        assert (rated.label, rated.price.num * 60 // rated.price.den) == ("voice.premium", 1_600_000)


def test_a_price_of_a_place_holds_for_all_accounts_and_dates_that_had_the_old_one(tmp_path: Path, ocs: Call) -> None:
    path = imported(tmp_path, ocs, "zone;mb\neu;0,005\n", "--kind", "place")
    for at in ("2026-12-31T12:00", "2027-01-02T12:00"):
        moment = int(datetime.fromisoformat(at + "+01:00").timestamp())
        price = load_catalogue(path).rate(UseEvent(Context.DATA, serving_plmn="26201", at=moment)).price
        assert price.num * 2**20 // price.den == 5_000, at


@pytest.mark.parametrize(
    ("text", "more", "told"),
    [
        ("zone,countries,minute\nzone2,RS,0,49\n", (), "row 2: has more cells than the header"),
        ("zone;minute;sms\nzone2;1;1;1\n", (), "row 2: has more cells"),
        ('zone;countries;minute\nzone2;"RS;1\n', (), "line 2: is not CSV"),
        (f"zone;countries;minute\nzone2;{'RS,' * 60_000};1\n", (), "line 2: is not CSV: field larger"),
        ("zone;countries;minute\nzone2;AT;1\n", (), "row 2, column countries = 'AT': destination zone1"),
        ("zone;minute\neu;0,5\n", ("--kind", "place"), "row 2 = 'eu': rate."),
    ],
)
def test_sheets_that_would_say_something_else_are_refused(
    tmp_path: Path, ocs: Call, text: str, more: tuple[str, ...], told: str
) -> None:
    write(tmp_path, text)
    done = ocs("catalogue", "import-prices", "sheet.csv", "--into", "catalogue.toml", *more)
    assert done.returncode == 1 and f"sheet.csv: {told}" in done.stderr
    assert (tmp_path / "catalogue.toml").read_text(encoding="utf-8") == TEXT


def test_a_sheet_that_is_no_text_is_refused(tmp_path: Path, ocs: Call) -> None:
    (tmp_path / "sheet.csv").write_bytes(b"\xff\xfe\x00")
    done = ocs("catalogue", "import-prices", "sheet.csv", "--into", "catalogue.toml")
    assert done.returncode == 1 and "sheet.csv: must be a text file" in done.stderr


def test_an_import_keeps_link_permissions_and_line_ends(tmp_path: Path, ocs: Call) -> None:
    path, real = tmp_path / "catalogue.toml", tmp_path / "real.toml"
    real.write_bytes(TEXT.replace("\n", "\r\n").encode())
    real.chmod(0o640)
    path.unlink()
    path.symlink_to("real.toml")
    imported(tmp_path, ocs, SHEET)
    assert path.is_symlink() and real.stat().st_mode & 0o777 == 0o640
    octets = real.read_bytes()
    assert b"zone9" in octets and octets.count(b"\n") == octets.count(b"\r\n")
