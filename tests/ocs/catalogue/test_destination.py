"""Destination classes: HOT-RAT-1, HOT-RAT-2, HOT-RAT-3, HOT-RAT-4."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocs.catalogue.destination import CACHED_DESTINATIONS, DestinationClass, Destinations, normalise
from tests.rules import rule

CLASSES = [
    DestinationClass("emergency", numbers=["112", "113", "116000"], emergency=True),
    DestinationClass("freephone", prefixes=["+38680"], kinds=["toll_free"]),
    DestinationClass("help", numbers=["1990", "+38668686868"]),
    DestinationClass("premium", prefixes=["+38690"], kinds=["premium_rate"]),
    DestinationClass("premium-call", prefixes=["+386904"]),
    DestinationClass("short", short=True),
    DestinationClass("named", alphanumeric=True),
    DestinationClass("shop", numbers=["shop", "sales@example.com"]),
    DestinationClass("mobile", kinds=["mobile"]),
    DestinationClass("fixed", countries=["SI"]),
    DestinationClass("eu", countries=["DE", "IT", "FR", "RE"]),
    DestinationClass("balkan", countries=["BA", "RS", "AL"]),
    DestinationClass("rest", countries=["*"]),
    DestinationClass("satellite", prefixes=["+8816"], countries=["001"]),
]


@pytest.fixture(scope="module")
def destinations() -> Destinations:
    return Destinations(CLASSES, home_country="SI")


@rule("HOT-RAT-1")
@pytest.mark.parametrize(
    ("party", "dialled_in", "form", "number"),
    [
        ("tel:+38640123456", "SI", "e164", "38640123456"),
        ("TEL:+386-40-123-456", "SI", "e164", "38640123456"),
        ("tel:+38640123456;npdi;rn=+38640", "SI", "e164", "38640123456"),
        ("sip:+38640123456@ims.mnc040.mcc293.3gppnetwork.org;user=phone", "SI", "e164", "38640123456"),
        ("sips:+38640123456@example.org", "SI", "e164", "38640123456"),
        ("sip:040123456@example.org", "SI", "e164", "38640123456"),
        ("sip:%2B38640123456@example.org;user=phone", "SI", "e164", "38640123456"),
        ("+38640123456/TYPE=PLMN", "SI", "e164", "38640123456"),
        ("040123456/type=plmn", "SI", "e164", "38640123456"),
        ("1918/TYPE=PLMN", "SI", "short", "1918"),
        ("192.0.2.1/TYPE=IPv4", "SI", "name", "192.0.2.1/type=ipv4"),
        ("38640123456\0", "SI", "e164", "38640123456"),
        (" \0+38640123456 \0\0", "SI", "e164", "38640123456"),
        ("sip:447700900001@localdomain", "SI", "e164", "447700900001"),
        ("+386 40 123 456", "SI", "e164", "38640123456"),
        ("0038640123456", "SI", "e164", "38640123456"),
        ("040123456", "SI", "e164", "38640123456"),
        ("(040) 123/456", "SI", "e164", "38640123456"),
        ("40123456", "SI", "e164", "38640123456"),
        ("38640123456", "SI", "e164", "38640123456"),
        ("38761234567", "SI", "e164", "38761234567"),
        ("tel:040123456;phone-context=+386", "SI", "e164", "38640123456"),
        ("tel:01701234567;phone-context=+49", "SI", "e164", "491701234567"),
        ("080123456", "SI", "e164", "38680123456"),
        ("03012345678", "DE", "e164", "493012345678"),
        ("040123456", "DE", "e164", "4940123456"),
        ("2125551234", "US", "e164", "12125551234"),
        ("01138640123456", "US", "e164", "38640123456"),
        ("0999999999", "SI", "e164", "386999999999"),
        ("112", "SI", "short", "112"),
        ("tel:112;phone-context=+386", "SI", "short", "112"),
        ("sip:112@example.org", "SI", "short", "112"),
        ("116 000", "SI", "short", "116000"),
        ("urn:service:sos.police", "SI", "emergency", ""),
        ("sip:alice@example.org", "SI", "name", "alice@example.org"),
        ("mailto:Alice@Example.org", "SI", "name", "alice@example.org"),
        ("*123#", "SI", "name", "*123#"),
        ("", "SI", "none", ""),
        ("tel:", "SI", "none", ""),
        ("+", "SI", "none", ""),
        ("+1234567890123456", "SI", "none", ""),
    ],
)
def test_hot_rat_1_parties_as_network_elements_write_them(party: str, dialled_in: str, form: str, number: str) -> None:
    found = normalise(party, dialled_in, "SI")
    assert (found.form, found.number) == (form, number)


@rule("HOT-RAT-4")
@pytest.mark.parametrize(
    ("party", "class_", "country"),
    [
        ("040123456", "mobile", "SI"),
        ("tel:+38612345678", "fixed", "SI"),
        ("+386590123456", "fixed", "SI"),
        ("+4917012345678", "eu", "DE"),
        ("+390612345678", "eu", "IT"),
        ("+262262123456", "eu", "RE"),
        ("+38761234567", "balkan", "BA"),
        ("+381601234567", "balkan", "RS"),
        ("+355661234567", "balkan", "AL"),
        ("+12125551234", "rest", "US"),
        ("+18765551234", "rest", "JM"),
        ("+77011234567", "rest", "KZ"),
        ("+447700900001", "rest", "GB"),
        ("+881612345678", "satellite", ""),
        ("+88213123456", "satellite", ""),
        ("080 1234", "freephone", "SI"),
        ("+386801234", "freephone", "SI"),
        ("090123456", "premium", "SI"),
        ("090412345", "premium-call", "SI"),
        ("1990", "help", ""),
        ("068686868", "help", "SI"),
        ("1918", "short", ""),
        ("SHOP", "shop", ""),
        ("Sales@example.com", "shop", ""),
        ("alice@example.com", "named", ""),
    ],
)
def test_hot_rat_4_destination_class_by_number(
    destinations: Destinations, party: str, class_: str, country: str
) -> None:
    found = destinations.find(party, "SI")
    assert found is not None
    assert (found.id, found.country) == (class_, country)


@rule("HOT-RAT-2")
@pytest.mark.parametrize(
    ("party", "dialled_in"),
    [
        ("112", "SI"),
        ("112", "US"),
        ("113", "SI"),
        ("116000", "SI"),
        ("116 000", "DE"),
        ("sip:112@ims.example.org", "SI"),
        ("tel:112;phone-context=+386", "SI"),
        ("+386112", "SI"),
        ("+386116000", "DE"),
        ("urn:service:sos", "SI"),
        ("urn:service:sos.fire", "RS"),
        ("110", "DE"),
        ("+49110", "DE"),
        ("911", "US"),
        ("+1911", "US"),
        ("999", "GB"),
    ],
)
def test_hot_rat_2_emergency_numbers_here_and_abroad(destinations: Destinations, party: str, dialled_in: str) -> None:
    found = destinations.find(party, dialled_in)
    assert found is not None
    assert found.id == "emergency"


@rule("HOT-RAT-2")
@pytest.mark.parametrize("party", ["1123", "11200", "1160", "+386112345678", "911", "01123456"])
def test_hot_rat_2_numbers_that_only_look_like_emergency_numbers_are_not(
    destinations: Destinations, party: str
) -> None:
    found = destinations.find(party, "SI")
    assert found is None or found.id != "emergency"


@rule("HOT-RAT-1")
@pytest.mark.parametrize("party", ["+999123456789", "", "tel:", "+"])
def test_hot_rat_1_a_party_that_is_no_number_has_no_destination(destinations: Destinations, party: str) -> None:
    assert destinations.find(party, "SI") is None


def test_a_catalogue_without_the_classes_gives_no_destination() -> None:
    few = Destinations([DestinationClass("emergency", numbers=["112"], emergency=True)], home_country="SI")
    for party in ("1918", "alice@example.com", "+4917012345678", "040123456"):
        assert few.find(party, "SI") is None


@settings(deadline=None)  # the library loads a country's plan at its first number
@given(st.text(max_size=40), st.sampled_from(["SI", "DE", "US", "XK", "001"]))
def test_any_text_has_a_destination_or_none_and_never_fails(
    destinations: Destinations, party: str, country: str
) -> None:
    found = destinations.find(party, country)
    assert found is None or found.id in {class_.id for class_ in CLASSES}


@settings(deadline=None)  # the library loads a country's plan at its first number
@given(st.from_regex(r"\A(tel:|sip:)?\+?[0-9 ]{1,24}(@x)?(;phone-context=\+[0-9a-z-]{0,5})?\Z"))
def test_any_digits_have_a_destination_or_none_and_never_fail(destinations: Destinations, party: str) -> None:
    found = destinations.find(party, "SI")
    assert found is None or found.id in {class_.id for class_ in CLASSES}


@pytest.mark.parametrize(
    ("spellings", "dialled_in"),
    [
        (["+38640123456", "38640123456", "040123456", "0038640123456", "+38640123456/TYPE=PLMN"], "SI"),
        (["tel:+386-40-123-456", "sip:38640123456@example.org", "40123456"], "SI"),
        (["+4940123456", "040123456", "004940123456"], "DE"),
        (["112", "+386112", "00386112", "tel:112"], "SI"),
        (["1990", "+3861990"], "SI"),
        (["Shop", "SHOP"], "SI"),
        (["mailto:Alice@Example.org", "alice@example.org"], "SI"),
    ],
)
def test_every_spelling_of_a_party_has_one_form(
    destinations: Destinations, spellings: list[str], dialled_in: str
) -> None:
    assert len({destinations.canonical_party(each, dialled_in) for each in spellings}) == 1


def test_different_parties_have_different_forms(destinations: Destinations) -> None:
    parties = ["+38640123456", "+38640123457", "112", "1990", "1918", "alice@example.org", "alice", "", "+", "tel:"]
    assert len({destinations.canonical_party(each, "SI") for each in parties}) == len(parties)


def test_the_cache_of_numbers_is_bounded(destinations: Destinations) -> None:
    assert destinations.find.cache_info().maxsize == CACHED_DESTINATIONS
