"""`service_contexts` and `tolerate_avps`, in general and by peer: what they become, and every malformed one named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ocs.compose import diameter_config
from ocs.diameter.peers import Peer, PeerTable, RelayedClient
from ocs.settings.dialects import MAX_AVPS, MAX_CONTEXTS, MAX_TOLERANCES
from ocs.settings.loading import load_settings
from ocs.values.use import Context
from protocol.registry import COMMANDS
from protocol.tolerance import NOTHING, of_dictionary
from tests.ocs.diameter.site import NullMetrics
from tests.ocs.settings.test_loading import PEER, mistakes, write

VODAFONE = 12645


def table(folder: Path, text: str, environment: dict[str, str] | None = None) -> PeerTable:
    return PeerTable(diameter_config(load_settings(write(folder, text), environment or {})), NullMetrics())


def tolerates(peer: Peer | RelayedClient, *avps: tuple[int, int]) -> list[bool]:
    return [vendor << 32 | code in peer.limits.tolerated for vendor, code in avps]


def test_by_default_nothing_is_mapped_and_nothing_tolerated(tmp_path: Path) -> None:
    peer = table(tmp_path, PEER).get("pgw.example.net")
    assert peer.service_contexts["gprs@cmcc.com"] is None
    assert peer.limits.tolerated == NOTHING and peer.limits.commands is COMMANDS


def test_in_general_and_by_peer(tmp_path: Path) -> None:
    peers = table(
        tmp_path,
        f"""
        [charging]
        service_contexts = {{ "gprs@cmcc.com" = "data", "*@huawei.com" = "data" }}
        [diameter]
        accept_unknown_peers = true
        tolerate_avps = ["12645:256"]
        {PEER}
        service_contexts = {{ "Comverse.DCI" = "ims", "*@Huawei.com" = "sms" }}
        tolerate_avps = ["12645:267", "9:*"]
        [[peer]]
        origin_host = "plain.example.net"
        realm = "example.net"
        """,
    )
    texts = ("gprs@cmcc.com", "Moscow@huawei.com", "Comverse.DCI", "32270@3gpp.org")
    data, ims, sms, mms = Context.DATA, Context.IMS, Context.SMS, Context.MMS
    avps = ((VODAFONE, 256), (VODAFONE, 267), (9, 1), (8, 1))
    for name, contexts, tolerated in (
        ("PGW.example.net", [data, sms, ims, mms], [True, True, True, False]),
        ("plain.example.net", [data, data, None, mms], [True, False, False, False]),
        ("unknown.example.net", [data, data, None, mms], [True, False, False, False]),
    ):
        peer = peers.get(name)
        assert [peer.service_contexts[text] for text in texts] == contexts
        assert tolerates(peer, *avps) == tolerated
    plain, unknown = peers.get("plain.example.net"), peers.get("unknown.example.net")
    assert plain.service_contexts is unknown.service_contexts and plain.limits.commands is unknown.limits.commands


def test_behind_a_relay(tmp_path: Path) -> None:
    """A client's own list before the relay's."""
    relay = table(
        tmp_path,
        f"""
        [[peer]]
        origin_host = "dra.example.net"
        realm = "example.net"
        kind = "relay"
        service_contexts = {{ "a@b" = "data", "c@d" = "data" }}
        tolerate_avps = ["12645:256"]
        {PEER}
        service_contexts = {{ "a@b" = "ims" }}
        tolerate_avps = ["9:*"]
        [[peer]]
        origin_host = "plain.example.net"
        realm = "example.net"
        """,
    ).get("dra.example.net")
    assert relay.limits_differ
    for name, contexts, tolerated in (
        ("pgw.example.net", [Context.IMS, Context.DATA], [False, True]),
        ("plain.example.net", [Context.DATA, Context.DATA], [True, False]),
        ("of.nobody.example.net", [Context.DATA, Context.DATA], [True, False]),
    ):
        client = relay.speaking_for(name)
        assert [client.service_contexts[text] for text in ("a@b", "c@d")] == contexts
        assert tolerates(client, (VODAFONE, 256), (9, 1)) == tolerated


def test_what_the_dictionary_has(tmp_path: Path) -> None:
    peer = table(tmp_path, PEER + 'tolerate_avps = ["known", "7:7"]').get("pgw.example.net")
    assert tolerates(peer, (VODAFONE, 256), (VODAFONE, 4_000_000), (7, 7)) == [True, False, True]
    assert peer.limits.tolerated.avps > of_dictionary().avps


def test_by_the_environment(tmp_path: Path) -> None:
    environment = {
        "OCS_CHARGING_SERVICE_CONTEXTS": "gprs@cmcc.com=data, a=b@c = sms,",
        "OCS_DIAMETER_TOLERATE_AVPS": "12645:256, 9:*",
    }
    peer = table(tmp_path, PEER, environment).get("pgw.example.net")
    assert [peer.service_contexts[text] for text in ("gprs@cmcc.com", "a=b@c")] == [Context.DATA, Context.SMS]
    assert tolerates(peer, (VODAFONE, 256), (9, 1), (8, 1)) == [True, True, False]
    (line,) = mistakes(write(tmp_path, PEER), {"OCS_CHARGING_SERVICE_CONTEXTS": "gprs@cmcc.com"})
    assert line.startswith("environment: OCS_CHARGING_SERVICE_CONTEXTS")
    (line,) = mistakes(write(tmp_path, PEER), {"OCS_DIAMETER_TOLERATE_AVPS": "12645"})
    assert line.startswith("environment: OCS_DIAMETER_TOLERATE_AVPS = '12645'")


CONTEXTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    # Value, key within the setting, what the message says besides the file.
    "no context of ours": (
        '{ "gprs@cmcc.com" = "dta" }',
        ".\"gprs@cmcc.com\" = 'dta'",
        ("'data', 'ims'", "matches any"),
    ),
    "a number": ('{ "gprs@cmcc.com" = 32251 }', '."gprs@cmcc.com" = 32251', ("'data', 'ims'",)),
    "a list": ('["gprs@cmcc.com"]', " = ['gprs@cmcc.com']", ("dictionary", '"Service-Context-Id" = "data"')),
    "text": ('"gprs@cmcc.com"', " = 'gprs@cmcc.com'", ('"Service-Context-Id" = "data"',)),
    "no text": ('{ "" = "data" }', ".\"\" = ''", ("at least 1 character",)),
    "blanks around": ('{ " a@b" = "data" }', ".\" a@b\" = ' a@b'", ("begins or ends with a blank",)),
    "a tab inside": ('{ "a\\tb" = "data" }', '."a\tb" = ', ("cannot be printed",)),
    "a long text": (f'{{ "{"x" * 257}" = "data" }}', f".{'x' * 257} = ", ("at most 256 characters",)),
    "many stars": ('{ "*a*a*a*a*a*a*a*a*" = "data" }', '."*a*a*a*a*a*a*a*a*" = \'*a', ("more than 8 *",)),
    "twice": ('{ "A@b" = "data", "a@B" = "ims" }', ": ", ('"A@b" and "a@B" are the same',)),
    "too many": (
        "{" + ", ".join(f'"{n}@b" = "data"' for n in range(MAX_CONTEXTS + 1)) + "}",
        ": ",
        (f"at most {MAX_CONTEXTS}",),
    ),
}
AVPS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "no code": ('["12645"]', "[0] = '12645'", ("is not VENDOR:CODE", '"VENDOR:*"')),
    "a name": ('["12645:256", "Context-Type"]', "[1] = 'Context-Type'", ("is not VENDOR:CODE",)),
    "a negative code": ('["12645:-1"]', "[0] = '12645:-1'", ("is not VENDOR:CODE",)),
    "a code of 33 bits": ('["12645:4294967296"]', "[0] = '12645:4294967296'", ("is not VENDOR:CODE",)),
    "a vendor of 33 bits": ('["4294967296:1"]', "[0] = '4294967296:1'", ("is not VENDOR:CODE",)),
    "other digits": ('["12645:٢"]', "[0] = '12645:٢'", ("is not VENDOR:CODE",)),
    "all": ('["*"]', "[0] = '*'", ("is not VENDOR:CODE",)),
    "all vendors": ('["*:256"]', "[0] = '*:256'", ("is not VENDOR:CODE",)),
    "all of the IETF": ('["0:*"]', "[0] = '0:*'", ("name their codes",)),
    "a number": ("[256]", "[0] = 256", ("string",)),
    "text": ('"12645:256"', " = '12645:256'", ("list", '"VENDOR:CODE"')),
    "too many": (str([f"1:{n}" for n in range(MAX_AVPS + 1)]), " = [", (f"at most {MAX_AVPS}",)),
}


@pytest.mark.parametrize("place", ["in general", "by peer"])
@pytest.mark.parametrize(
    ("setting", "case"),
    [("service_contexts", case) for case in CONTEXTS.values()] + [("tolerate_avps", case) for case in AVPS.values()],
    ids=[f"service_contexts, {name}" for name in CONTEXTS] + [f"tolerate_avps, {name}" for name in AVPS],
)
def test_a_malformed_one_is_named(tmp_path: Path, place: str, setting: str, case: tuple[Any, ...]) -> None:
    value, where, words = case
    section = {"service_contexts": "charging", "tolerate_avps": "diameter"}[setting]
    text = f"{PEER}{setting} = {value}\n" if place == "by peer" else f"[{section}]\n{setting} = {value}\n{PEER}"
    key = f"peer[0].{setting}" if place == "by peer" else f"{section}.{setting}"
    path = write(tmp_path, text)
    (line,) = mistakes(path)
    assert line.startswith(f"{path}: {key}{where}"), line
    assert all(word in line for word in words), line


def test_so_many_different_lists_and_no_more(tmp_path: Path) -> None:
    def peers(lists: int) -> str:
        return "".join(
            f'[[peer]]\norigin_host = "p{n}.example.net"\nrealm = "example.net"\ntolerate_avps = ["9:{n % lists}"]\n'
            for n in range(2 * lists)
        )

    load_settings(write(tmp_path, peers(MAX_TOLERANCES - 1)), {})
    path = write(tmp_path, peers(MAX_TOLERANCES))
    (line,) = mistakes(path)
    assert line.startswith(f"{path}: peer[{MAX_TOLERANCES - 1}].tolerate_avps = ['9:{MAX_TOLERANCES - 1}']: ")
    assert f"more than {MAX_TOLERANCES} different lists" in line
