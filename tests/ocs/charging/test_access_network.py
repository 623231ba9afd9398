"""P-Access-Network-Info and Access-Network-Information: every form of RFC 7315 §4.4, RFC 7913 and TS 24.229 §7.2A.4,
and their locations.
"""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocs.charging.access_network import cells

PLMNS = ["29340", "22801", "310410", "00101"]
"""Home, a roaming zone, an MNC of three digits, a test network."""
TYPES = [
    "3GPP-GERAN",
    "3GPP-GAN",
    "3GPP-HSPA",
    "3GPP-WLAN",
    "3GPP-E-UTRAN-ProSe-UNR",
    "3gpp-e-utran-fdd",
    "a-later-one",
]
TYPES += [f"3GPP-{kind}{mode}" for kind in ("UTRAN", "E-UTRAN", "NR", "NR-U") for mode in ("", "-FDD", "-TDD")]
CELLS = {
    "cgi-3gpp": ["2710ABCD"],
    "utran-sai-3gpp": ["75A482D6"],
    "utran-cell-id-3gpp": [
        "1234abcdef0",
        "1234ABCDEF0",
        "00123401234ab",
        "001234012345678",
        "0012340123456780123456789a",
    ],
}
"""Name of the part → what follows MCC and MNC."""
NO_CELLS = [
    "IEEE-802.11",
    "IEEE-802.11n;i-wlan-node-id=ac3744ff01ba",
    'IEEE-802.11ac;i-wlan-node-id="ac3744ff01ba";country=CH',
    "IEEE-802.3ab;eth-location=228012710ABCD",
    'ADSL2+;dsl-location="228012710ABCD"',
    "VDSL;dsl-location=228012710ABCD",
    "G.SHDSL;dsl-location=x",
    "GPON;fiber-location=x",
    "XGPON1;fiber-location=x",
    "DOCSIS",
    'GSTN;gstn-location="41441234567"',
    "3GPP2-1X;ci-3gpp2=1234",
    "3GPP2-1X-HRPD;ci-3gpp2=1234567890",
    "3GPP2-UMB;ci-3gpp2=1234",
    "3GPP2-1X-Femto;ci-3gpp2-femto=1234",
    'DVB-RCS2;dvb-rcs2-node-id="228012710ABCD"',
    '3GPP-E-UTRAN-FDD;operator-specific-GI="228012710ABCD"',
    'untrusted-non-3GPP-VIRTUAL-EPC;UE-local-IP-address="192.0.2.1";UDP-source-port=4500;ePDG-IP-address="192.0.2.2"',
    "VIRTUAL-no-PS",
    "WLAN-no-PS",
    '3GPP-E-UTRAN;local-time-zone="+0100";daylight-saving-time="+01"',
    '3GPP-E-UTRAN-FDD;another="cgi-3gpp=228012710ABCD"',
    'IEEE-802.11;i-wlan-node-id="x, 3GPP-GERAN;cgi-3gpp=228012710ABCD;network-provided"',
    r'IEEE-802.11;i-wlan-node-id="\", 3GPP-GERAN;cgi-3gpp=228012710ABCD;network-provided"',
    "3GPP-GERAN;cgi-3gpp=",
    "3GPP-GERAN;cgi-3gpp",
    "3GPP-GERAN;cgi-3gpp=nowhere",
    "3GPP-GERAN;cgi-3gpp=0000000000000",
    "3GPP-GERAN;not-cgi-3gpp=228012710ABCD",
    "",
    ";,;;,",
]


def of_network(*texts: str) -> str | None:
    cell = cells([text.encode() for text in texts]).of_network
    return cell[0] if cell else None


def of_handset(*texts: str) -> str | None:
    cell = cells([text.encode() for text in texts]).of_handset
    return cell[0] if cell else None


@pytest.mark.parametrize("plmn", PLMNS)
@pytest.mark.parametrize(("name", "digits"), [(name, each) for name, values in CELLS.items() for each in values])
def test_every_form_of_a_cell(plmn: str, name: str, digits: str) -> None:
    """Access types and classes, quoted or not, spaces where SIP allows them, upper and lower case, "network-provided"
    anywhere or missing.
    """
    for access in TYPES:
        for part in (f"{name}={plmn}{digits}", f'{name}="{plmn}{digits}"', f"{name.upper()} =\t {plmn}{digits} "):
            for form in (f"{access};{part}", f"{access} ; {part}", f"{access};x=y;{part};z", f"{access}\r\n ;{part}"):
                assert (of_handset(form), of_network(form)) == (plmn, None), form
            for mark in ("network-provided", " Network-Provided\t"):
                for form in (
                    f"{access};{part};{mark}",
                    f"{access};{mark};{part}",
                    f'{access};a="b;,";{part};{mark};c=d',
                ):
                    assert (of_handset(form), of_network(form)) == (None, plmn), form


@pytest.mark.parametrize("text", NO_CELLS)
def test_other_accesses_have_no_location_and_hide_none(text: str) -> None:
    assert (of_handset(text), of_network(text)) == (None, None)
    for after in (", 3GPP-GERAN;cgi-3gpp=228012710ABCD", ",3GPP-GERAN;cgi-3gpp=228012710ABCD;network-provided"):
        assert (of_network if "provided" in after else of_handset)(text + after) == "22801"
        assert (of_network if "provided" in after else of_handset)(text, after[1:]) == "22801"


OWN = "3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=2934000010000001"
GIVEN = "3GPP-UTRAN-FDD;utran-sai-3gpp=2280175A482D6;network-provided"


def test_the_network_provided_part_is_found_at_any_position() -> None:
    for texts in (
        [f"{OWN}, {GIVEN}"],
        [f"{GIVEN},{OWN}"],
        [OWN, GIVEN],
        [GIVEN, OWN],
        [f"IEEE-802.11;network-provided, {OWN}", "", GIVEN],
        [f'{OWN};x="a,b;network-provided", {GIVEN}'],
        [f"P-Access-Network-Info: {OWN},{GIVEN}"],
        [f'{OWN};cut-short="here, {GIVEN}'],
        [f'{OWN};"network-provided",{GIVEN}'],
        [f"{OWN};network-provided=yes,{GIVEN}"],
    ):
        assert (of_handset(*texts), of_network(*texts)) == ("29340", "22801"), texts


@pytest.mark.parametrize(
    ("text", "plmn"),
    [
        ("3GPP-GERAN; cgi-3gpp=228012710ABCD", "22801"),
        ("3GPP-UTRAN-FDD;utran-sai-3gpp=2280175A482D6", "22801"),
        ("3GPP-UTRAN-FDD; utran-sai-3gpp=7323600E852D80", "732360"),
        ("3GPP-E-UTRAN-FDD;utran-cell-id-3gpp = 2280100010000001", "22801"),
        ("3GPP-E-UTRAN;tai-3gpp=214071a2b", "21407"),
        ("3GPP-E-UTRAN;utran-cell-id-3gpp=21407000119b01", "21407"),
        ("3GPP-NR;utran-cell-id-3gpp=310410000001000000019b01", "310410"),
        ('3GPP-E-UTRAN;utran-cell-id-3gpp="460006716ccad746;sbc-domain=sbc', "46000"),
        (
            "3GPP-E-UTRAN;utran-cell-id-3gpp=460006716ccad746;sbc-domain=sbc.example.com;ue-ip=[2409:8805::9861]",
            "46000",
        ),
    ],
)
def test_as_real_elements_write_it(text: str, plmn: str) -> None:
    """GERAN and UTRAN cells, a P-CSCF without leading zeros, border controllers with extra parameters, a truncated
    text.
    """
    assert of_handset(text) == plmn
    assert of_network(f"{text};network-provided") == plmn


@given(st.lists(st.binary(max_size=80), max_size=4))
def test_any_octets_are_read(texts: list[bytes]) -> None:
    found = cells(texts)
    for cell in (found.of_network, found.of_handset):
        assert cell is None or (cell[0].isdigit() and len(cell[0]) in (5, 6) and cell[1] in texts)
    assert found.unreadable is None or any(found.unreadable in text for text in texts)


ACCESS = st.one_of(st.sampled_from(NO_CELLS), st.sampled_from([OWN, f"{OWN};a=b", '3GPP-NR;x="\\""']))


@given(before=st.lists(ACCESS), after=st.lists(ACCESS), apart=st.booleans())
def test_no_text_of_a_handset_hides_the_network_provided_part(before: list[str], after: list[str], apart: bool) -> None:
    texts = [*before, GIVEN, *after]
    assert of_network(*(texts if apart else [", ".join(texts)])) == "22801"


BY_THE_NETWORK = [
    GIVEN,
    "3GPP-E-UTRAN-FDD;network-provided;utran-cell-id-3gpp=2280100010000001",
    '3GPP-E-UTRAN-FDD;utran-cell-id-3gpp="2280100010000001";network-provided',
    '3GPP-E-UTRAN-FDD;network-provided;utran-cell-id-3gpp="2280100010000001"',
    '3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=2280100010000001;network-provided;y="z"',
    '3GPP-E-UTRAN-FDD;y="z";utran-cell-id-3gpp=2280100010000001;z="";network-provided',
    '3GPP-UTRAN-FDD;local-time-zone="+0100";utran-sai-3gpp="2280175A482D6";network-provided;daylight-saving-time="01"',
]
"""All of one place."""
OPEN_ENDS = [
    '"',
    ';x="',
    ';x= "',
    ';x="a\\',
    ';x="\\"',
    ';x="a";y="',
    ';x=""',
    ';x="""',
    ';"',
    '"network-provided',
    ';x="network-provided;',
    ";network-provided",
    ";'",
    ";x=",
    "\\",
    '";network-provided',
    ';utran-cell-id-3gpp="',
    ';network-provided;x="',
]


@pytest.mark.parametrize("given", BY_THE_NETWORK)
@pytest.mark.parametrize("end", OPEN_ENDS)
def test_an_unclosed_quote_of_a_handset_hides_nothing(given: str, end: str) -> None:
    """A malformed part of the handset neither hides the network's part nor takes over its "network-provided"."""
    for before in (f"{OWN}{end}", f"IEEE-802.11{end}", end):
        for texts in ([f"{before}, {given}"], [f"{before},{given}"], [before, given]):
            assert of_network(*texts) == "22801", texts


FRAGMENT = st.one_of(
    st.sampled_from([*OPEN_ENDS, *NO_CELLS, OWN, f"{OWN};network-provided", ", ", ";", '="', '=\\"', '",', '";', "\0"]),
    st.text(max_size=6),
    st.text(alphabet='"\\=;, a', max_size=8),
)


@given(before=st.lists(FRAGMENT), given=st.sampled_from(BY_THE_NETWORK), apart=st.booleans())
def test_the_network_provided_location_has_priority_over_any_text(before: list[str], given: str, apart: bool) -> None:
    """A handset can mark its own cell "network-provided" too, unless a network element removes it."""
    own = "".join(before)
    texts = [own, given] if apart else [f"{own}, {given}"]
    assert of_network(*texts) == "22801"


@pytest.mark.parametrize(
    "value",
    [
        "2280100010000001\0",
        "2280100010000001\0\0 ",
        '"2280100010000001"\0',
        '"2280100010000001\0"',
        "\0 2280100010000001",
    ],
)
def test_nul_is_read_as_a_space(value: str) -> None:
    for form in (
        f"3GPP-E-UTRAN-FDD;utran-cell-id-3gpp={value};network-provided",
        f"3GPP;network-provided\0;utran-cell-id-3gpp={value}",
    ):
        assert of_network(form) == "22801", form


UNREADABLE = [
    "3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=228-01-0001-0000001;network-provided",
    "3GPP-E-UTRAN-FDD;network-provided;utran-cell-id-3gpp=228f0100010000001",
    "3GPP-E-UTRAN-FDD;network-provided;utran-cell-id-3gpp=",
    "3GPP-E-UTRAN-FDD;network-provided;utran-cell-id-3gpp=0000000000000000",
    '"3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=2280100010000001;network-provided"',
    '"3GPP-E-UTRAN-FDD;network-provided;utran-cell-id-3gpp=2280100010000001"',
]


@pytest.mark.parametrize("text", UNREADABLE)
def test_an_unreadable_network_provided_part_is_reported(text: str) -> None:
    """Unless another network-provided part can be read."""
    for texts in ([text], [OWN, text], [f"{OWN}, {text}"], [f"IEEE-802.11;network-provided, {text}"]):
        found = cells([each.encode() for each in texts])
        assert (found.of_network, found.unreadable is not None) == (None, True), texts
    for texts in ([text, GIVEN], [GIVEN, text], [f"{text},{GIVEN}"]):
        found = cells([each.encode() for each in texts])
        assert (of_network(*texts), found.unreadable) == ("22801", None), texts


@pytest.mark.parametrize("text", [*NO_CELLS, OWN, "IEEE-802.11;network-provided", "3GPP-GERAN;cgi-3gpp=nowhere"])
def test_a_missing_network_provided_part_is_not_reported(text: str) -> None:
    assert cells([text.encode()]).unreadable is None


@pytest.mark.parametrize(
    "piece", ['="', '= "a', '=\\"', '="\\', "= ", '=""', '"', '\\"', '"\\', ";", ",", "cgi-3gpp=;", '"a",', "1", " "]
)
def test_reading_takes_time_in_proportion_to_length(piece: str) -> None:
    """The handset writes the text, and a slow parser would delay all clients of the worker."""
    text = (piece * 60_000)[:60_000].encode()
    took = []
    for _ in range(3):
        begin = time.process_time()
        cells([text])
        took.append(time.process_time() - begin)
    assert min(took) < 0.5, "a busy machine makes some slower, not all"
