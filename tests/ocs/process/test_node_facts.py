"""Comparison of nodes' settings: differences that prevent a start, and differences that are logged."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from ocs.process.node_facts import NodeFacts, conflicts, facts_of, failover_warnings
from ocs.settings.loading import load_settings

PGW = "pgw.example.net"
SETTINGS = """
[diameter]
identity = "{identity}"
realm = "Example.net"
hosts = [{hosts}]
{more}
[redis]
url = "redis://redis"
[[peer]]
origin_host = "PGW.example.net"
realm = "example.net"
failover_group = "{group}"
profile = "pgw"
[profile.pgw]
session_failover = {failover}
"""


def facts(
    folder: Path,
    identity: str,
    *hosts: str,
    failover: bool = True,
    more: str = "",
    group: str = "",
) -> NodeFacts:
    """The facts of a node with these settings, as read from Redis."""
    (folder / "catalogue.toml").touch()
    text = SETTINGS.format(
        identity=identity,
        hosts=", ".join(f'"{host}"' for host in hosts),
        failover=str(failover).lower(),
        more=more,
        group=group,
    )
    (folder / "ocs.toml").write_text(text, encoding="utf-8")
    said = NodeFacts.decode(facts_of(load_settings(folder / "ocs.toml", {})).encode())
    assert said is not None
    return said


def test_the_facts_of_a_node(tmp_path: Path) -> None:
    said = facts(tmp_path, "OCS1.example.net", "ocs1.EXAMPLE.net", "Ocs2.example.net", more='realms = ["B.net"]')
    assert (said.identity, said.hosts, said.realms) == (
        "ocs1.example.net",
        ("ocs2.example.net",),
        ("b.net", "example.net"),
    )
    assert said.clients == {PGW: "client "} and said.moving == (PGW,) and said.failover
    assert said.where.endswith(str(tmp_path / "data"))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"nonsense", b'{"hosts": 1, "realms": 2, "moving": 3}'])
def test_unknown_facts_of_another_release_are_ignored(data: bytes) -> None:
    assert NodeFacts.decode(data) is None


@pytest.mark.parametrize(
    ("we_name", "named", "we_promise", "it_promises"), list(product((True, False), repeat=4)), ids=str
)
def test_failover_requires_that_both_nodes_name_each_other(
    tmp_path: Path, we_name: bool, named: bool, we_promise: bool, it_promises: bool
) -> None:
    """Two independent nodes may share a Redis. If only one names the other, failover would not work."""
    ours = facts(tmp_path, "a.net", *(["b.net"] if we_name else ["c.net"]), failover=we_promise)
    other = facts(tmp_path, "b.net", *(["a.net"] if named else ["c.net"]), failover=it_promises)
    found = conflicts(ours, [other])
    assert bool(found) == (we_name != named and (we_promise or it_promises))
    for each in found:
        lacks = other if we_name else ours
        must_name = ours if we_name else other
        assert f"{lacks.identity} ({lacks.where}) refuses" in each
        assert f"its diameter.hosts must name {must_name.identity}" in each


def test_differences_that_are_only_logged(tmp_path: Path) -> None:
    """Nodes are restarted one after another, so settings that must be equal may differ for a while."""
    ours, other = facts(tmp_path, "a.net", "b.net"), facts(tmp_path, "b.net", "a.net")
    assert failover_warnings(ours, {"b.net": other, "stranger.net": None}) == []
    assert conflicts(ours, [other]) == []
    for known, words in (
        ({}, "no node b.net (diameter.hosts) has been on this Redis yet"),
        ({"b.net": None}, "no node b.net"),
        ({"b.net": replace(other, realms=("c.net",))}, "b.net does not serve example.net, as a.net does"),
        ({"b.net": replace(other, clients={})}, f"b.net has no [[peer]] {PGW}"),
        ({"b.net": replace(other, clients={PGW: "relay "})}, "have another kind or failover_group"),
        ({"b.net": replace(other, clients={PGW: "client group"})}, "have another kind or failover_group"),
        ({"b.net": replace(other, moving=())}, f"b.net does not tell {PGW} that sessions may move"),
        ({"b.net": replace(other, catalogue="another")}, "b.net has another catalogue"),
    ):
        found = failover_warnings(ours, known)
        assert any(words in each for each in found), (words, found)
        assert known == {} or known["b.net"] is None or conflicts(ours, [known["b.net"]]) == []
    assert failover_warnings(ours, {"b.net": replace(other, clients={}, moving=(), any_client=True)}) == []
    many = replace(ours, moving=tuple(f"p{n}.net" for n in range(8)), clients={})
    assert any("p4.net and 3 more" in each for each in failover_warnings(many, {"b.net": other}))
