"""Mistakes in texts are found before they are in force, each with its key; and the table of events is the ledger's."""

from __future__ import annotations

import re
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from ocs.catalogue.catalogue import load_catalogue, parse_catalogue
from ocs.catalogue.countries import MCC_COUNTRY
from ocs.catalogue.model import NoticeTable
from ocs.catalogue.problems import CatalogueError
from ocs.ledger.contract.events import OutboxEvent
from ocs.ledger.redis.journal import FIELDS
from ocs.notices.check import LONG_SEGMENTS, checked
from ocs.notices.compiled import Notices
from ocs.notices.events import EVENTS
from ocs.notices.fields import Recipient, values_of
from ocs.notices.templates import Templates
from ocs.notices.words import Words
from ocs.outbox.format import record
from ocs.values.language import LANGUAGES
from ocs.values.sms_text import sms_size
from tests.catalogue import CATALOGUE, SHIPPED, fixed_catalogue
from tests.rules import rule

ROOT = Path(__file__).parents[3]
TEXT = CATALOGUE.read_text("utf-8")


def mistakes(addition: str, *replaced: tuple[str, str]) -> list[str]:
    text = TEXT + addition
    for before, after in replaced:
        assert text.count(before) == 1
        text = text.replace(before, after)
    try:
        checked([("c.toml", parse_catalogue(text, "c.toml"))])
    except CatalogueError as error:
        return [str(each) for each in error.problems]
    return []


@rule("HOT-NOT-1")
@pytest.mark.parametrize("path", [CATALOGUE, SHIPPED])
def test_the_shipped_texts_have_no_mistakes(path: Path) -> None:
    lengths = checked([(str(path), load_catalogue(path))])
    assert len(lengths) > 40 and [each for each in lengths if each.size.segments > LONG_SEGMENTS] == []


@rule("HOT-NOT-1")
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_shipped_welcome_of_every_country_is_two_sms_long(language: str) -> None:
    """With the dearest prices of the price list: a minute 5.99 EUR, a MB 19.90 EUR."""
    table = load_catalogue(SHIPPED).tables.of("notice", NoticeTable)["welcome"]
    render = Templates(Words(language, ZoneInfo("UTC"), 1024)).text(table.sl if language == "sl" else table.en)
    prices = {
        "call": (5_990_000, 60, False), "received": (3_990_000, 60, False), "sms": (390_000, 1, False),
        "data": (19_900_000, 1024**2, False),
    }  # fmt: skip
    texts = [render({"country": country, **prices}) for country in sorted({*MCC_COUNTRY.values()})]
    assert [text for text in texts if sms_size(text).segments > LONG_SEGMENTS] == []


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            'event = "topup"\nsl = "{{ amont|eur }}"\nen = "x"',
            "notice.x.sl = '{{ amont|eur }}': amont: the event has no",
        ),
        ('event = "topup"\nsl = "{{ amount"\nen = "x"', "notice.x.sl = '{{ amount': cannot be used: "),
        (
            'event = "topup"\nsl = "x"\nen = "{{ amount|euro }}"',
            "notice.x.en = '{{ amount|euro }}': cannot be used: No",
        ),
        (
            'event = "top_up"\nsl = "x"\nen = "x"',
            "notice.x.event = 'top_up': there is no such event; there are arrived,",
        ),
        ('event = "topup"\nsl = "x"', "notice.x.en: is missing and required"),
        ('event = "topup"\nen = "x"', "notice.x.sl: is missing and required"),
        ('event = "topup"\nwhen = "amount >"\nsl = "x"\nen = "x"', "notice.x.when = 'amount >': cannot be used"),
        ('event = "topup"\nwhen = "amont"\nsl = "x"\nen = "x"', "notice.x.when = 'amont': amont: the event has no"),
        (
            'event = "threshold"\nwhen = "counter == \'roaming\'"\nsl = "x"\nen = "x"',
            "notice.x.when = \"counter == 'roaming'\": is true for no event that the catalogue has",
        ),
        ('event = "topup"\nsl = "{{ amount|plural(\'a\') }}"\nen = "x"', "cannot be used: plural needs 4 forms"),
        ('event = "topup"\nsl = "{{ amount * 9999999 }}"\nen = "x"', "has the operator *"),
        ('event = "topup"\nsl = "{{ \'\'.__class__.__mro__ }}"\nen = "x"', "notice.x.sl"),
        (
            'event = "topup"\nsl = "{% for i in range(9) %}x{% endfor %}"\nen = "x"',
            "range: the event has no such field",
        ),
        (f'event = "topup"\nsl = "{"č" * 300}"\nen = "x"', "is up to 5 SMS long (300 UCS-2), at most 4"),
        ('event = "topup"\nsl = ""\nen = "x"', "notice.x.sl"),
        ('event = "topup"\npriority = 0\nsl = "x"\nen = "x"', "notice.x.priority"),
        ('event = "topup"\nexpires_h = 11\nsl = "x"\nen = "x"', "must be more than the 11 quiet hours"),
    ],
)
def test_a_mistake_is_told_with_its_key(lines: str, said: str) -> None:
    found = mistakes(f"\n[notice.x]\n{lines}\n")
    assert len(found) == 1 and said in found[0], found


def test_quiet_hours_are_times_and_shorter_than_the_life_of_a_notice() -> None:
    assert "notices.quiet_from" in mistakes("", ('quiet_from = "21:00"', 'quiet_from = "25:00"'))[0]
    assert (
        "must be more than the 23 quiet hours"
        in mistakes("", ('quiet_until = "08:00"', 'quiet_until = "20:00"'), ("expires_h = 24 ", "expires_h = 23 "))[0]
    )


def test_lengths_are_told_and_plain_texts_are_shorter() -> None:
    lengths = {(each.notice, each.language): each.size for each in checked([("c", fixed_catalogue())])}
    assert lengths["low-credit", "sl"].encoding == "UCS-2" and lengths["low-credit", "sl"].segments == 2
    assert (lengths["low-credit", "en"].encoding, lengths["low-credit", "en"].segments) == ("GSM-7", 1)
    plain = parse_catalogue(TEXT.replace("plain = false", "plain = true"), "c")
    shorter = {(each.notice, each.language): each.size for each in checked([("c", plain)])}
    assert {each.encoding for each in shorter.values()} == {"GSM-7"}
    (text,) = [each.text for each in Notices(plain).told({"kind": "low_credit", "time": 0}, Recipient("38668100000"))]
    assert text.startswith("Vase dobroimetje je 0,00 EUR. Napolnite racun")


def test_every_field_is_one_of_the_ledger() -> None:
    """An event with a value in each of its fields: the record has every field that a text may name."""
    for kind, fields in EVENTS.items():
        body = {name: 1 for name in FIELDS[kind] if name != "promo"} | {"k": kind, "t": 1_795_000_000, "a": "0-1"}
        if kind == "subscription":
            body["renews"] = 1
        made = record(OutboxEvent(0, 1, body))
        missing = {field.record for field in fields.values() if field.record} - made.keys()
        assert not missing, f"{kind} has no {missing}: it has {sorted(made)}"


def test_every_field_has_a_value_even_of_an_empty_record() -> None:
    for kind, fields in EVENTS.items():
        values = values_of({"kind": kind, "time": "2026-11-10T12:00:00Z"}, fixed_catalogue(), Recipient("38668100000"))
        assert values.keys() >= fields.keys(), kind


@rule("HOT-NOT-1")
def test_the_shipped_catalogue_has_every_notice_of_the_rule() -> None:
    """HOT-NOT-1, and what the operator adds to it."""
    names = fixed_catalogue().tables.of("notice", NoticeTable).keys()
    assert names >= {
        *("low-credit", "package-renewed", "package-not-renewed", "package-renews", "package-expiring"),
        "package-ended",
        *("data-left", "data-used-up", "limit-80", "limit-100", "roaming-cap-80", "roaming-cap-100"),
        *("fair-use-100", "fair-use-warned", "fair-use-surcharge", "welcome", "welcome-eu", "topup"),
        *("account-inactive-soon", "account-lost-soon", "sim-changed", "number-changed"),
    }


def test_the_page_has_every_event_field_and_filter() -> None:
    page = (ROOT / "docs" / "NOTICES.md").read_text("utf-8")
    for kind, fields in EVENTS.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{kind}` |")]
        assert not {name for name in fields if f"`{name}`" not in row}, kind
    words = Words("sl", fixed_catalogue().time_zone, 1024)
    assert not {name for name in words.filters if not re.search(rf"`{name}[`(]", page)}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('[answer.balance]\nsl = "{credit}"\nen = "{credit} {date}"', ""),
        (
            '[answer.balance]\nsl = "{kredit}"\nen = "x"',
            "answer.balance.sl = '{kredit}': kredit: the answer has",
        ),
        (
            '[answer.balance]\nsl = "x"\nen = "{credit.real}"',
            "answer.balance.en = '{credit.real}': credit.real: the",
        ),
        (
            '[answer.balance]\nsl = "x"\nen = "{credit!r}"',
            "credit!r: the answer has no such field; it has",
        ),
        ('[answer.balance]\nsl = "x"\nen = "{}"', "the answer has no such field"),
        ('[answer.balance]\nsl = "x"\nen = "{credit"', "is no text with fields in {}: "),
        (
            '[answer.balanc]\nsl = "x"\nen = "x"',
            "answer.balanc.sl = 'x': there is no such answer; there are arm",
        ),
        ('[answer.messages]\nsl = "x"\nen = "x"', "answer.messages.sl = 'x': there is no such answer"),
        ('[answer.balance]\nsl = "x"', "answer.balance.en: is missing and required"),
    ],
)
def test_own_answers_to_keywords_are_checked(table: str, said: str) -> None:
    found = mistakes(f"\n{table}\n")
    assert (found == []) == (not said) and (not said or said in found[0]), found


def test_nothing_waits_behind_a_rush_of_packages() -> None:
    """Packages begin and renew by thousands at once, and the port sends `notices.rate_per_s`."""
    tables = load_catalogue(SHIPPED).tables.of("notice", NoticeTable)
    rush = min(tables[name].priority for name in ("package-started", "package-renewed"))
    later = [name for name, each in tables.items() if each.priority >= rush]
    assert [name for name in later if not name.startswith("package-")] == []
