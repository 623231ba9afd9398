"""A wrong catalogue is refused. All errors are reported at once, each with file, key, value and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocs.catalogue.catalogue import Catalogue, CatalogueError, load_catalogue, parse_catalogue
from ocs.values.use import Context, UseEvent
from tests.catalogue import CATALOGUE

FIXED = CATALOGUE.read_text(encoding="utf-8")

SMALL = """
[catalogue]
currency = "EUR"
vat_percent = 22
time_zone = "Europe/Ljubljana"
kilo = 1000
rounding = "up"
home_country = "SI"
home_plmns = ["29340"]
default_plmn = "29340"

[place.home]
countries = ["SI"]

[place.eu]
countries = ["DE", "AT"]

[destination.emergency]
emergency = true
numbers = ["112"]

[destination.all]
countries = ["*"]

[service.data]
contexts = ["data"]
unit = "octets"
default = true
match = [{ rating_group = 1 }, { rating_group = 2, apn = "work" }]
quota = { default = "5 MB", minimum = "1 MB", maximum = "9 MB", validity_s = 60, threshold_percent = 20, holding_s = 0 }

[service.voice]
contexts = ["ims"]
unit = "seconds"
default = true
quota = { default = "5 min", minimum = "1 s", maximum = "1 h", validity_s = 60, threshold_percent = 0, holding_s = 0 }

[price.volume]
micro_eur = 10
per = "1 MB"
first = "1 kB"

[price.time]
micro_eur = 60
per = "1 min"
first = "60 s"
next = "1 s"

[rate.data]
service = "data"
places = ["*"]
price = "volume"
buckets = ["data"]

[rate.emergency]
service = "voice"
places = ["*"]
directions = ["mo", "mt"]
destinations = ["emergency"]
price = "free"
always = true

[rate.voice]
service = "voice"
places = ["home", "eu"]
directions = ["mo", "fw"]
destinations = ["*"]
price = "time"
buckets = ["voice"]

[package.P]
price_eur = "12.20"
net_eur = "10.00"
period_days = 30
bucket.data = { unit = "octets", quantity = "1 GB" }
bucket.voice = { unit = "seconds", quantity = "unlimited" }
"""

LONGEST = "x" * 300


def load(tmp_path: Path, text: str) -> Catalogue:
    path = tmp_path / "catalogue.toml"
    path.write_text(text, encoding="utf-8")
    return load_catalogue(path)


def mistakes(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(CatalogueError) as caught:
        load(tmp_path, text)
    prefix = f"{tmp_path / 'catalogue.toml'}: "
    assert str(caught.value).count(prefix) >= len(caught.value.problems)
    return [str(problem).removeprefix(prefix) for problem in caught.value.problems]


def test_a_minimal_catalogue_is_valid(tmp_path: Path) -> None:
    catalogue = load(tmp_path, SMALL)
    rated = catalogue.rate(UseEvent(Context.DATA, serving_plmn="26201"))
    assert (rated.quota.default, rated.quota.threshold_percent) == (5_000_000, 20)
    assert (rated.price.first, rated.price.rounding, rated.buckets) == (1000, "up", ("P.data",))
    assert catalogue.rate(UseEvent(Context.DATA, rating_group=2, apn="WORK.mnc040.mcc293.gprs")).service == "data"
    assert list(catalogue.products) == list(catalogue.packages) == ["P"]


MISTAKES = [
    # (old text, new text, reported key and value, what is allowed)
    ('currency = "EUR"', 'currency = "USD"', "catalogue.currency = 'USD'", "must be 'EUR'"),
    ("vat_percent = 22", "vat_percent = 22.0", "catalogue.vat_percent = 22.0", "valid integer"),
    ("vat_percent = 22", 'vat_percent = "22"', "catalogue.vat_percent = '22'", "valid integer"),
    ("vat_percent = 22", "vat_percent = 101", "catalogue.vat_percent = 101", "less than or equal to 100"),
    ("vat_percent = 22\n", "", "catalogue.vat_percent", "is missing and required"),
    ("vat_percent = 22", "vat_percent = 22\nvat = 1", "catalogue.vat = 1", "valid_from, currency"),
    ("Europe/Ljubljana", "Europe/Lubljana", "catalogue.time_zone = 'Europe/Lubljana'", "time zone of the tz database"),
    ("Europe/Ljubljana", "../etc", "catalogue.time_zone = '../etc'", "time zone of the tz database"),
    ("kilo = 1000", "kilo = 1023", "catalogue.kilo = 1023", "1000 or 1024"),
    ('rounding = "up"', 'rounding = "even"', "catalogue.rounding = 'even'", "'up', 'down' or 'half_up'"),
    ('home_country = "SI"', 'home_country = "Si"', "catalogue.home_country = 'Si'", "country code such as SI"),
    ('home_country = "SI"', 'home_country = "QQ"', "catalogue.home_country = 'QQ'", "country code such as SI"),
    ('home_country = "SI"', 'home_country = "DE"', "place.home.countries = ['SI']", "must include the home country DE"),
    ('home_plmns = ["29340"]', 'home_plmns = ["2934"]', "catalogue.home_plmns[0] = '2934'", "5 or 6 digits"),
    ('home_plmns = ["29340"]', "home_plmns = []", "catalogue.home_plmns = []", "at least 1 item"),
    ('default_plmn = "29340"', 'default_plmn = "99999"', "catalogue.default_plmn = '99999'", "one of home_plmns"),
    (
        'default_plmn = "29340"',
        'default_plmn = "31041"',
        "catalogue.default_plmn = '31041'",
        "network of one of the places",
    ),
    ("[place.eu]", "[place.europe]", "place.eu", "the places home and eu are required"),
    ('countries = ["DE", "AT"]', 'countries = ["DE", "SI"]', "place.eu.countries[1] = 'SI'", "home has it already"),
    ('countries = ["DE", "AT"]', 'countries = ["DE", "QQ"]', "place.eu.countries[1] = 'QQ'", "is not a country code"),
    (
        'countries = ["DE", "AT"]',
        'countries = ["Germany"]',
        "place.eu.countries[0] = 'Germany'",
        "country codes such as",
    ),
    ('countries = ["DE", "AT"]', "countries = []", "place.eu.countries", "is missing; a place has countries, plmns"),
    (
        'countries = ["DE", "AT"]',
        'countries = ["DE"]\nbars = ["x"]',
        "place.eu.bars[0] = 'x'",
        "'roaming', 'international'",
    ),
    ("emergency = true\n", "", "destination", "one destination must have emergency = true (HOT-RAT-2)"),
    (
        'numbers = ["112"]',
        'numbers = ["+386-1"]',
        "destination.emergency.numbers[0] = '+386-1'",
        "a short number of 2 to 6",
    ),
    ('countries = ["*"]', 'prefixes = ["386"]', "destination.all.prefixes[0] = '386'", "such as +38690"),
    ('countries = ["*"]', 'kinds = ["cell"]', "destination.all.kinds[0] = 'cell'", "'mobile', 'fixed'"),
    ('countries = ["*"]', 'numbers = ["112"]', "destination.all.numbers[0] = '112'", "emergency has it already"),
    ('countries = ["*"]', "emergency = true", "destination.all.emergency = 'emergency'", "emergency has it already"),
    (
        'contexts = ["data"]',
        'contexts = ["gprs"]',
        "service.data.contexts[0] = 'gprs'",
        "'data', 'ims', 'cs', 'sms', 'mms' or 'content'",
    ),
    ('contexts = ["data"]', 'contexts = ["data", "sms"]', "service.data.contexts = ['data', 'sms']", "cannot be mixed"),
    ('contexts = ["ims"]', 'contexts = ["data"]', "service.voice.default = 'data'", "may be stated once only"),
    (
        'contexts = ["ims"]\nunit = "seconds"\ndefault = true',
        'contexts = ["ims"]\nunit = "seconds"',
        "service",
        "of the context ims must have default = true",
    ),
    (
        'unit = "octets"\ndefault',
        'unit = "bytes"\ndefault',
        "service.data.unit = 'bytes'",
        "'octets', 'seconds', 'messages' or 'money'",
    ),
    (
        "{ rating_group = 1 }",
        "{ rating_group = -1 }",
        "service.data.match[0].rating_group = -1",
        "greater than or equal to 0",
    ),
    (
        "{ rating_group = 1 }",
        "{ group = 1 }",
        "service.data.match[0].group = 1",
        "allowed here: illustrative, rating_group",
    ),
    ("{ rating_group = 1 }", "{ }", "service.data.match[0]", "must state a rating_group"),
    ("{ rating_group = 1 }", '{ apn = "A B" }', "service.data.match[0].apn = 'A B'", "an APN in lower case"),
    (
        "{ rating_group = 1 }",
        '{ rating_group = 2, apn = "work" }',
        "service.data.match[1] = 'data: rating_group 2, apn work'",
        "data has it already",
    ),
    ('"5 MB"', '"5 Mb"', "service.data.quota.default = '5 Mb'", "B, kB, MB, GB or TB, such as 50 MB"),
    ('"5 MB"', '"5 min"', "service.data.quota.default = '5 min'", "such as 50 MB"),
    ('"5 MB"', '"0 MB"', "service.data.quota.default = '0 MB'", "such as 50 MB"),
    ('"5 MB"', '"5.5 MB"', "service.data.quota.default = '5.5 MB'", "a whole number"),
    ('"5 MB"', '"10 MB"', "service.data.quota.default = '10 MB'", "from minimum 1 MB to maximum 9 MB"),
    ('"9 MB"', '"99 TB"', "service.data.quota.maximum = '99 TB'", "at most 17592186044416 octets"),
    (
        "threshold_percent = 20",
        "threshold_percent = 91",
        "service.data.quota.threshold_percent = 91",
        "less than or equal to 90",
    ),
    (
        "validity_s = 60, threshold_percent = 20",
        "validity_s = 1, threshold_percent = 20",
        "service.data.quota.validity_s = 1",
        "greater than or equal to 10",
    ),
    (
        "threshold_percent = 20",
        "threshold = 20",
        "service.data.quota.threshold = 20",
        "allowed here: illustrative, default, minimum",
    ),
    ("micro_eur = 10\n", "micro_eur = 0.5\n", "price.volume.micro_eur = 0.5", "valid integer"),
    ("micro_eur = 10\n", "micro_eur = -1\n", "price.volume.micro_eur = -1", "greater than or equal to 0"),
    (
        "micro_eur = 10\n",
        "micro_eur = 200000001\n",
        "price.volume.micro_eur = 200000001",
        "less than or equal to 200000000",
    ),
    ('per = "1 MB"', 'per = "1 litre"', "price.volume.per = '1 litre'", "1 call"),
    (
        'per = "1 MB"\nfirst = "1 kB"',
        'per = "1 call"\nfirst = "1 s"',
        "price.volume",
        "a price per 1 call has no first and no next",
    ),
    ('first = "1 kB"', 'first = "1 s"', "price.volume.first = '1 s'", "such as 50 MB"),
    ('next = "1 s"', 'next = "1"', "price.time.next = '1'", "such as 300 s"),
    (
        'micro_eur = 10\nper = "1 MB"',
        'micro_eur = 199_999_991\nper = "1 B"',
        "rate.data.price = 'volume'",
        "cannot be computed exactly",
    ),
    ('micro_eur = 10\nper = "1 MB"', 'micro_eur = 7\nper = "1 TB"', "rate.data.price = 'volume'", "2^53"),
    (
        'service = "data"',
        'service = "date"',
        "rate.data.service = 'date'",
        "is not a service of this catalogue; allowed: data, voice",
    ),
    ('places = ["home", "eu"]', 'places = ["home", "mars"]', "rate.voice.places[1] = 'mars'", "allowed: eu, home"),
    ('destinations = ["*"]', 'destinations = ["al"]', "rate.voice.destinations[0] = 'al'", "allowed: all, emergency"),
    ('price = "time"', 'price = "tima"', "rate.voice.price = 'tima'", "allowed: time, volume, face-value or free"),
    ('price = "time"', 'price = "face-value"', "rate.voice.price = 'face-value'", "services whose unit is money"),
    ('price = "time"', 'price = "volume"', "rate.voice.price = 'volume'", "must be a price in seconds"),
    ('buckets = ["voice"]', 'buckets = ["talk"]', "rate.voice.buckets[0] = 'talk'", "is not a bucket of any package"),
    ('buckets = ["voice"]', 'buckets = ["data"]', "rate.voice.buckets[0] = 'data'", "must be a bucket in seconds"),
    ('directions = ["mo", "fw"]\n', "", "rate.voice.directions", "mo, mt or fw"),
    ('directions = ["mo", "fw"]', 'directions = ["out"]', "rate.voice.directions[0] = 'out'", "'mo', 'mt' or 'fw'"),
    ('destinations = ["*"]\n', "", "rate.voice.destinations", "outgoing use needs destinations"),
    (
        'directions = ["mo", "fw"]',
        'directions = ["mo", "mt"]',
        "rate.voice.destinations = ['*']",
        "left out for incoming use",
    ),
    (
        'places = ["*"]\nprice',
        'places = ["*"]\ndirections = ["mo"]\nprice',
        "rate.data.directions = ['mo']",
        "only calls and messages have a direction",
    ),
    ('price = "free"', 'price = "time"', "rate.emergency.price = 'time'", 'must be "free" because always = true'),
    (
        "always = true",
        "always = false",
        "rate",
        "outgoing voice at home to emergency needs a rate with always = true (HOT-RAT-2)",
    ),
    (
        "[package.P]",
        '[rate.again]\nservice = "data"\nplaces = ["eu"]\nprice = "free"\n[package.P]',
        "rate.again",
        "mo data at eu has the rate data already",
    ),
    ('net_eur = "10.00"', 'net_eur = "9.99"', "package.P.net_eur = '9.99'", "must be 10.00: 12.20 less 22 % VAT"),
    ('price_eur = "12.20"', "price_eur = 12.20", "package.P.price_eur = 12.2", "valid string"),
    ('price_eur = "12.20"', 'price_eur = "12,20"', "package.P.price_eur = '12,20'", "at most 6 decimals"),
    ("period_days = 30", "period_days = 0", "package.P.period_days = 0", "greater than or equal to 1"),
    ('quantity = "1 GB"', 'quantity = "1GB"', "package.P.bucket.data.quantity = '1GB'", 'or "unlimited"'),
    (
        'quantity = "1 GB"',
        'quantity = "999999999 TB"',
        "package.P.bucket.data.quantity = '999999999 TB'",
        "at most 4503599627370495",
    ),
    (
        "[package.P]",
        '[package.Q]\nprice_eur = "0.00"\nnet_eur = "0.00"\n'
        'period_days = 1\nbucket.data = { unit = "seconds", quantity = "1 s" }\n[package.P]',
        "package.P.bucket.data.unit = 'octets'",
        "must be seconds, as in package Q",
    ),
    ("[package.P]", '[package."P Q"]', 'package."P Q"', "letters, digits, points, - and _"),
    ("[package.P]", "[packages.P]", "packages", "the file has [catalogue], [fair_use], [notices] and the tables place"),
    ("[rate.data]", "[rate]\nx = 1\n[rate.data]", "rate", "[rate.ID]"),
    (SMALL, "", "catalogue", "is missing; it has illustrative, version, valid_from, currency"),
    (SMALL, "[catalogue", "", "is not valid TOML"),
    ('numbers = ["112"]', f'numbers = ["{LONGEST}+"]', "destination.emergency.numbers[0] = 'xxx", "...:"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "key", "allowed"), MISTAKES, ids=[f"{m[2][:50]}" for m in MISTAKES])
def test_an_error_names_file_key_value_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, key: str, allowed: str
) -> None:
    assert old in SMALL
    found = mistakes(tmp_path, SMALL.replace(old, new, 1))
    assert any(line.startswith(key) and allowed in line for line in found), found


def test_a_bucket_name_has_no_dot(tmp_path: Path) -> None:
    found = mistakes(tmp_path, SMALL.replace("bucket.data =", 'bucket."da.ta" ='))
    assert found == ["package.P.bucket.\"da.ta\" = 'da.ta': must be named with at most 24 letters, digits, - and _"]


def test_all_errors_are_reported_at_once(tmp_path: Path) -> None:
    text = FIXED
    for old, new in (
        ("vat_percent = 22", "vat_percent = 21"),
        ('default = "50 MB"', 'default = "50 XB"'),
        ("micro_eur = 69_000", 'micro_eur = "69000"'),
        ('"CH", "GB", "MD"', '"CH", "DE", "MD"'),
        ('buckets = ["pack-sms", "sms"]', 'buckets = ["mms"]'),
        ("[price.sms-zone1]", '[price.sms-zone1]\ncolour = "red"'),
    ):
        assert old in text
        text = text.replace(old, new, 1)
    found = mistakes(tmp_path, text)
    for key in (
        "package.MINI.net_eur",
        "package.GIGA-UNLIMITED.net_eur",
        "service.data.quota.default",
        "price.voice-national.micro_eur",
        "place.world-1.countries[1]",
        'rate."sms.home.national".buckets[0]',
        "price.sms-zone1.colour",
    ):
        assert any(line.startswith(key) for line in found), (key, found)
    # A reference to a table with an error is no further error.
    assert not any(line.startswith('rate."voice.home.national"') for line in found), found
    assert len(found) == FIXED.count("net_eur = ") + 5, found


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"none\.toml: cannot be read: No such file"):
        load_catalogue(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe8\n")
    with pytest.raises(CatalogueError, match=r"latin\.toml: is not valid TOML"):
        load_catalogue(tmp_path / "latin.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * (8 * 1024 * 1024 + 1))
    with pytest.raises(CatalogueError, match=r"large\.toml: is larger than"):
        load_catalogue(tmp_path / "large.toml")


def test_a_rate_with_a_destination_has_priority_over_one_without(tmp_path: Path) -> None:
    special = (
        '[rate.own]\nservice = "voice"\nplaces = ["home"]\ndirections = ["mo"]\n'
        'destinations = ["all"]\nprice = "free"\n'
    )
    call = UseEvent(Context.IMS, other_party="+38640123456")
    for text in (SMALL + special, SMALL.replace("[rate.voice]", special + "[rate.voice]")):
        catalogue = load(tmp_path, text)
        assert catalogue.rate(call).label == "own"
        assert catalogue.rate(UseEvent(Context.IMS, other_party="+38640123456", serving_plmn="26201")).label == "voice"


def test_a_changed_price_has_another_price_id(tmp_path: Path) -> None:
    event = UseEvent(Context.DATA)
    before = load(tmp_path, SMALL).rate(event).price.id
    assert load(tmp_path, SMALL).rate(event).price.id == before
    for old, new in (
        ("micro_eur = 10\n", "micro_eur = 11\n"),
        ('first = "1 kB"', 'first = "2 kB"'),
        ('"up"', '"down"'),
    ):
        assert load(tmp_path, SMALL.replace(old, new)).rate(event).price.id != before


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (FIXED.replace("micro_eur = 6_900\n", f"micro_eur = {'9' * 5_000}\n"), "is not valid TOML"),
        (f"a = {'[' * 5_000}{']' * 5_000}", "is not valid TOML"),
        (f"a = {'{a=' * 5_000}1{'}' * 5_000}", "is not valid TOML"),
    ],
)
def test_a_file_that_the_parser_gives_up_on_is_named(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "deep.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(file)
    assert str(caught.value).startswith(f"{file}: {told}")


def test_a_byte_order_mark_does_not_matter(tmp_path: Path) -> None:
    file = tmp_path / "windows.toml"
    file.write_text(FIXED, encoding="utf-8-sig")
    assert load_catalogue(file).version == "1"


@pytest.mark.parametrize(
    ("pair", "told"),
    [
        (('SI"\n', 'SI"\nholidays = ["24.12.2026"]\n'), "catalogue.holidays[0] = '24.12.2026': must be a date"),
        (
            ('SI"\n', 'SI"\nholidays_country = "SI"\nno_holidays = ["2026-12-27"]\n'),
            "catalogue.no_holidays = '2026-12-27': is no public holiday of SI",
        ),
        (('SI"\n', 'SI"\nno_holidays = ["2026-12-25"]\n'), "is no public holiday: needs holidays_country"),
        (
            (
                'SI"\n',
                'SI"\nholidays_country = "SI"\nholidays = ["2026-12-25"]\nno_holidays = ["2026-12-25"]\n',
            ),
            "catalogue.no_holidays = '2026-12-25': is in holidays too",
        ),
        (
            (
                'first = "1 kB"\n',
                'first = "1 kB"\nwindow = [{ days = ["mon"], from = "25:00", to = "6:00", micro_eur = 1 }]\n',
            ),
            "window[0].from = '25:00': must be a time of day such as 06:00",
        ),
        (
            ("[price.volume]", '[destination.europe]\nnetworks = ["Š"]\n[price.volume]'),
            "'Š': must be a name of letters",
        ),
    ],
)
def test_a_pattern_is_told_by_its_own_key(pair: tuple[str, str], told: str) -> None:
    assert pair[0] in SMALL
    with pytest.raises(CatalogueError) as caught:
        parse_catalogue(SMALL.replace(*pair, 1), "small")
    assert told in str(caught.value)


def test_a_rate_does_not_end_before_it_begins() -> None:
    wrong = 'from = "2027-01-01"\nuntil = "2026-12-31"\nprice'
    with pytest.raises(
        CatalogueError, match=r'rate."data.eu-2027".until = .2026-12-31.: must not be before 2027-01-01'
    ):
        parse_catalogue(FIXED.replace('from = "2027-01-01"\nprice', wrong, 1), "fixed")
