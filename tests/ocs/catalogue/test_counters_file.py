"""Counters of a catalogue file, and what products and rates say of them: mistakes are named with key and bounds."""

from __future__ import annotations

import pytest

from ocs.catalogue.catalogue import Catalogue, CatalogueError, parse_catalogue
from ocs.values.products import DEFAULT_COUNTERS, AtLimit, CounterTerms, Measure, Window
from ocs.values.use import Context, Slow, UseEvent
from tests.ocs.rules.world import CATALOGUE
from tests.rules import rule

TEXT = CATALOGUE.read_text()
GB = 1024**3
VOLUME = """
[counter.volume]
window = "period"
measure = "bucket-units"
limit = "1 GB"
thresholds = [80, 100]
at_limit = "restrict"
filter_ids = ["slow"]
"""


def catalogue(text: str) -> Catalogue:
    return parse_catalogue(text, "catalogue.toml")


def mistakes(text: str) -> str:
    with pytest.raises(CatalogueError) as found:
        catalogue(text)
    return str(found.value)


def with_counter(old: str, new: str) -> str:
    assert old in VOLUME
    return TEXT + VOLUME.replace(old, new)


def test_a_counter_is_compiled_and_reaches_the_uses_of_its_rates() -> None:
    text = (TEXT + VOLUME).replace(
        '[rate."data.home"]\nservice = "data"\n', '[rate."data.home"]\nservice = "data"\ncounters = ["volume"]\n'
    )
    text = text.replace("[package.MAXI]\n", '[package.MAXI]\ncounter.volume = { limit = "20 GB" }\n')
    found = catalogue(text)
    terms = CounterTerms("volume", Window.PERIOD, Measure.BUCKET_UNITS, GB, (80, 100), at_limit=AtLimit.RESTRICT)
    assert found.counters["volume"] == terms
    home = found.rate(UseEvent(Context.DATA, rating_group=1, serving_plmn="29340"))
    assert (home.counters, home.slow) == ((*DEFAULT_COUNTERS, terms), Slow(("slow",)))
    calls = found.rate(UseEvent(Context.SMS, other_party="+38631234567"))
    assert calls.counters is DEFAULT_COUNTERS
    (maxi,) = [each for each in found.packages["MAXI"].counters if each.id == "volume"]
    assert maxi.limit == 20 * GB


@rule("HOT-ROA-5")
def test_the_shipped_catalogue_has_the_roaming_cap_on_all_roaming_data() -> None:
    """HOT-ROA-5: at home none, elsewhere each rate of data."""
    found = catalogue(TEXT)
    assert found.counters["roaming-data"].limit == 60_000_000
    for plmn in ("23201", "22003", "310260", "90101", "27602", "44010"):
        rated = found.rate(UseEvent(Context.DATA, rating_group=1, serving_plmn=plmn))
        assert "roaming-data" in [each.id for each in rated.counters], plmn
    home = found.rate(UseEvent(Context.DATA, rating_group=1, serving_plmn="29340"))
    assert "roaming-data" not in [each.id for each in home.counters]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[counter.volume]", "[counter.limit]", "counter.limit: is the name of the monthly spending limit"),
        ('"1 GB"', '"60.00"', "counter.volume.limit = '60.00': must be a whole number and B, kB"),
        ('"1 GB"', '"many"', "counter.volume.limit = 'many': must be"),
        ('"bucket-units"', '"money"', "counter.volume.limit = '1 GB': must be an amount in EUR"),
        ('"period"', '"rolling"', "counter.volume.days: is needed by a rolling window, and by no other"),
        ('"period"', '"month"\ndays = 30', "counter.volume.days = 30: is needed by a rolling window, and by no other"),
        ("[80, 100]", "[100, 80]", "counter.volume.thresholds = [100, 80]: must rise"),
        ('at_limit = "restrict"\n', "", "counter.volume.filter_ids = ['slow']: are for at_limit = \"restrict\""),
        ('"bucket-units"', '"units"', ""),
        ('at_limit = "restrict"\nfilter_ids = ["slow"]', 'at_limit = "price"', ""),
    ],
)
def test_mistakes_of_a_counter(old: str, new: str, said: str) -> None:
    text = with_counter(old, new)
    if said:
        assert said in mistakes(text)
    else:
        catalogue(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[package.MAXI]\ncounter.volume = { limit = "2 messages" }\n', "must be in octets, as the counter"),
        ('[package.MAXI]\ncounter.roaming-data = { limit = "1.00" }\n', 'must be a counter with window = "period"'),
        ('[package.MAXI]\ncounter.nothing = { limit = "1 GB" }\n', 'must be a counter with window = "period"'),
        ('[package.MAXI]\nfacts = ["rich"]\n', "has words that no rate asks for"),
        ('[package.MAXI]\nfacts = ["Rich Man"]\n', "must be words of small letters"),
    ],
)
def test_mistakes_of_a_product(text: str, said: str) -> None:
    assert said in mistakes((TEXT + VOLUME).replace("[package.MAXI]\n", text))


def test_a_counter_of_other_units_than_the_service() -> None:
    text = (TEXT + VOLUME).replace(
        '[rate."sms.home.national"]\nservice = "sms"\n',
        '[rate."sms.home.national"]\nservice = "sms"\ncounters = ["volume"]\n',
    )
    assert "has counter volume, whose limit is in octets, not in messages" in mistakes(text)
