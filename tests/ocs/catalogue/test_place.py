"""Places: HOT-RAT-1, HOT-ROA-1; 3GPP-User-Location-Info (TS 29.061 §16.4.7.2)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocs.catalogue.countries import MCC_COUNTRY
from ocs.catalogue.place import Place, Places, plmn_from_user_location_info
from ocs.values.use import Unrateable
from tests.rules import rule

CAPTURE = Path(__file__).parents[2] / "data" / "uli.pcap"

ULI = [
    ("0062f21012345678", "26201", "CGI"),
    ("0162f21012340007", "26201", "SAI"),
    ("0262f210123409ff", "26201", "RAI"),
    ("0262f210123409", "26201", "RAI without the filling octet"),
    ("8062f2101a2b", "26201", "TAI"),
    ("8162f2100123ab01", "26201", "ECGI"),
    ("8262f2101a2b62f2100123ab01", "26201", "TAI and ECGI"),
    ("8262f2101a2b1300140123ab01", "310410", "TAI and ECGI of two networks: the cell's counts"),
    ("8262f2101a2b62", "26201", "TAI and ECGI, cut short"),
    ("8262f2101a2bffffff0123ab01", "26201", "TAI and ECGI whose cell is no PLMN"),
    ("8392f304000102", "29340", "eNodeB id"),
    ("8492f304000192f304000102", "29340", "TAI and eNodeB id"),
    ("8592f304000102", "29340", "extended eNodeB id"),
    ("8692f304000192f304000102", "29340", "TAI and extended eNodeB id"),
    ("871300140123456789", "310410", "NCGI"),
    ("8813001400abcd", "310410", "5GS TAI"),
    ("8913001400abcd1300140123456789", "310410", "5GS TAI and NCGI"),
    ("8a92f30400010203", "29340", "NG-RAN node id"),
    ("8b92f30400000192f30400010203", "29340", "5GS TAI and NG-RAN node id"),
    ("8200f110000100f11000000101", "00101", "as Open5GS sends it"),
    ("", None, "nothing"),
    ("00", None, "only a type"),
    ("0062f2", None, "cut within the PLMN"),
    ("1862f2100123ab0162f2101a2b", None, "flags of GTPv2 instead of a type"),
    ("80ffffff1a2b", None, "no digits"),
    ("ff62f210", None, "unknown type"),
]


@rule("HOT-RAT-1")
@pytest.mark.parametrize(("value", "plmn", "what"), ULI, ids=[what for _, _, what in ULI])
def test_hot_rat_1_plmn_from_user_location_info(value: str, plmn: str | None, what: str) -> None:
    assert plmn_from_user_location_info(bytes.fromhex(value)) == plmn


@given(st.binary(max_size=20))
def test_user_location_info_never_fails_and_gives_a_plmn_or_nothing(octets: bytes) -> None:
    plmn = plmn_from_user_location_info(octets)
    assert plmn is None or re.fullmatch("[0-9]{5,6}", plmn)


def test_user_location_info_of_the_capture() -> None:
    packet = CAPTURE.read_bytes()
    found = []
    for avp in re.finditer(rb"\x00\x00\x00\x16\x80(...)\x00\x00\x28\xaf", packet, re.DOTALL):
        length = int.from_bytes(avp[1], "big") - 12
        found.append(plmn_from_user_location_info(packet[avp.end() : avp.end() + length]))
    assert found == ["26201"] * 6 + ["310410"] * 3


def places(**changes: object) -> Places:
    arguments: dict[str, object] = {
        "by_country": {"SI": "home", "DE": "eu", "FR": "eu", "RE": "eu", "BA": "world-1", "*": "world-2", "001": "sea"},
        "home_country": "SI",
        "home_plmns": frozenset({"29340", "00101"}),
        "default_plmn": "29340",
        **changes,
    }
    return Places(**arguments)


@rule("HOT-ROA-1")
@pytest.mark.parametrize(
    ("plmn", "place"),
    [
        ("29340", Place("home", "SI")),
        ("29341", Place("home", "SI")),
        ("00101", Place("home", "SI")),
        ("26201", Place("eu", "DE")),
        ("64710", Place("eu", "RE")),
        ("21803", Place("world-1", "BA")),
        ("310410", Place("world-2", "US")),
        ("90112", Place("sea", "001")),
        (None, Place("home", "SI")),
        ("", Place("home", "SI")),
    ],
)
def test_hot_roa_1_place_by_serving_plmn(plmn: str | None, place: Place) -> None:
    assert places().find(plmn, None) == place
    assert places().find(plmn, "491710000000") == (place if plmn else Place("eu", "DE"))


@rule("HOT-ROA-1")
@pytest.mark.parametrize(
    ("number", "place"),
    [
        ("38640000000", Place("home", "SI")),
        ("+491710760000", Place("eu", "DE")),
        ("38761000000", Place("world-1", "BA")),
        ("12125550000", Place("world-2", "US")),
        ("447700900001", Place("world-2", "GB")),
        ("881612345678", Place("sea", "001")),
    ],
)
def test_hot_roa_1_place_by_number_of_the_serving_node(number: str, place: Place) -> None:
    assert places().find(None, number) == place


@rule("HOT-RAT-1")
@pytest.mark.parametrize("plmn", ["2934", "2934012", "29x40", "00201", "99999", "٢٩٣٤٠"])
def test_hot_rat_1_a_serving_network_of_no_country_is_unrateable(plmn: str) -> None:
    with pytest.raises(Unrateable) as caught:
        places().find(plmn, None)
    assert caught.value.field == "serving_plmn"


@rule("HOT-RAT-1")
@pytest.mark.parametrize("number", ["999123456", "abc", "+", "0"])
def test_hot_rat_1_a_serving_node_of_no_country_is_unrateable(number: str) -> None:
    with pytest.raises(Unrateable) as caught:
        places().find(None, number)
    assert caught.value.field == "visited_number"


@rule("HOT-RAT-1")
def test_hot_rat_1_a_country_without_a_place_is_unrateable() -> None:
    few = places(by_country={"SI": "home", "DE": "eu"})
    assert few.find("26201", None).id == "eu"
    with pytest.raises(Unrateable, match="no place for country US"):
        few.find("310410", None)


def test_the_cache_of_networks_is_bounded() -> None:
    found = places()
    for mcc in MCC_COUNTRY:
        for mnc in range(40):
            found.find(f"{mcc}{mnc:02d}", None)
    assert len(found._by_plmn) <= 4096


def test_mobile_country_codes_are_three_digits_and_countries_two_letters() -> None:
    assert MCC_COUNTRY["293"] == "SI"
    assert len(MCC_COUNTRY) > 230
    for mcc, country in MCC_COUNTRY.items():
        assert re.fullmatch("[2-9][0-9]{2}", mcc)
        assert re.fullmatch("[A-Z]{2}|001", country)
