"""Elements in pairs behind a pair of agents: failovers, moved sessions, restarts, and the books after all of it."""

from __future__ import annotations

import asyncio
import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from diameter.message.commands import AbortSessionRequest, ReAuthRequest

from simulator.api_client import ApiClient
from simulator.demo import provision, write_config
from simulator.distributions import ScenarioError
from simulator.elements import SERVER_REALM, SIMULATED_REALM
from simulator.engine import Engine, Target
from simulator.network import Failover, Group, Network, peer_entries, read_network
from simulator.plan import Plan, PlannedSession, PlannedUse, make_plan
from simulator.prices import PriceList
from simulator.requests import Element, Place, Subscriber
from simulator.running import add_audits, run_plan
from simulator.scenario import Restart, load_scenario
from simulator.server_process import ServerProcess, free_port, ocs
from simulator.tally import Tally
from tests.catalogue import CATALOGUE
from tests.simulator.watched_server import Server
from tests.waiting import PATIENCE_S, until

MB = 1024 * 1024
HOME = Place("home", "29340", "38640000001")
PAIR = Network(("dra1", "dra2"), (Group(Element.PGW, "pgw", ("pgw1", "pgw2")),))
SPEED = 600.0


def target(port: int) -> Target:
    return Target("127.0.0.1", port, SIMULATED_REALM, SERVER_REALM)


def planned(index: int, duration_s: float = 600.0, start_s: float = 0.0) -> PlannedSession:
    who = Subscriber(str(38668100000 + index), str(293400000000000 + index))
    uses = (PlannedUse(100, "data", 60 * MB),)
    return PlannedSession(index, start_s, "data", Element.PGW, who, HOME, uses, duration_s)


def plan_of(network: Network, sessions: int, restarts: tuple[Restart, ...] = ()) -> Plan:
    made = tuple(planned(index) for index in range(sessions))
    return Plan(tuple(each.subscriber for each in made), made, network=network, restarts=restarts)


async def play(plan: Plan, port: int, speed: float = SPEED) -> Tally:
    return await Engine(plan, target(port), speed=speed, seed=1).run()


# -- failovers in mid-session


def numbers_of(requests: list[Any]) -> Counter[tuple[str, int]]:
    return Counter((request.session_id, request.cc_request_number) for request in requests)


@pytest.mark.parametrize("link", ["all", "server"])
async def test_what_was_outstanding_goes_over_the_other_agent(server: tuple[Server, int], link: str) -> None:
    """The agent is lost while requests wait for their answers: they come again the other way, with T, the same
    End-to-End Identifier and the same Origin-Host (RFC 6733 §5.5.4).
    """
    fake, port = server
    lost: set[int] = set()

    def answers(request: Any, agent: str) -> bool:
        """Some updates that came through the agent are left unanswered."""
        lose = request.cc_request_type == 2 and agent == "dra1" and len(lost) < 3
        if lose:
            lost.add(request.header.end_to_end_identifier)
        return not lose

    fake.answers = answers
    network = replace(PAIR, failovers=(Failover(150.0, "dra1", 200.0, link),))
    tally = await play(plan_of(network, 8), port)
    assert tally.unanswered == 0 and tally.failovers > 0 and tally.moved == 0
    repeated = [request for request in fake.requests if request.header.is_retransmit]
    assert len(repeated) == tally.repeats
    by_id = {}
    for request in fake.requests:
        if not request.header.is_retransmit:
            by_id[request.session_id, request.cc_request_number] = request
    for request in repeated:
        first = by_id.get((request.session_id, request.cc_request_number))
        if first is not None:  # else the agent had it, and could not deliver it
            assert first.header.end_to_end_identifier == request.header.end_to_end_identifier
            assert first.origin_host == request.origin_host
    assert {tuple(request.route_record) for request in fake.requests} == {
        (b"pgw1.sim.example.net",),
        (b"pgw2.sim.example.net",),
    }
    ends = [request for request in fake.requests if request.cc_request_type == 3]
    assert len({request.session_id for request in ends}) == 8, "every session went on to its end"


async def test_a_request_that_no_agent_delivers_waits_for_another_way(server: tuple[Server, int]) -> None:
    """One agent is lost, then the other one cannot reach the server: what it answers 3002 is sent again over the first
    one, as soon as that is back.
    """
    fake, port = server
    failovers = (Failover(100.0, "dra1", 250.0), Failover(150.0, "dra2", 350.0, "server"))
    tally = await play(plan_of(replace(PAIR, failovers=failovers), 8), port)
    assert tally.unanswered == 0 and set(tally.results) == {2001} and tally.failovers > 0
    assert Counter(request.cc_request_type for request in fake.requests)[3] == 8


async def test_another_element_goes_on_with_the_session(server: tuple[Server, int]) -> None:
    """The same Session-Id, the next CC-Request-Number, the partner's Origin-Host; and it stays there."""
    fake, port = server
    network = replace(PAIR, failovers=(Failover(150.0, "pgw1", 100.0),))
    tally = await play(plan_of(network, 10), port)
    moved = {
        request.session_id
        for request in fake.requests
        if not request.session_id.startswith(request.origin_host.decode())
    }
    assert 0 < len(moved) == tally.moved < 10
    assert tally.unanswered == 0
    for session_id in moved:
        own = [request for request in fake.requests if request.session_id == session_id]
        hosts = [request.origin_host.decode().partition(".")[0] for request in own]
        assert hosts == sorted(hosts) and set(hosts) == {"pgw1", "pgw2"}
        assert sorted({request.cc_request_number for request in own}) == list(range(own[-1].cc_request_number + 1))
        assert own[-1].cc_request_type == 3
    later = [one for one in fake.requests if one.cc_request_type == 1 and one.origin_host == b"pgw1.sim.example.net"]
    assert later, "it serves new sessions before"


async def test_a_restart_says_goodbye_and_comes_back_with_a_new_state(server: tuple[Server, int]) -> None:
    fake, port = server
    network = Network((), (Group(Element.PGW, "teravm", ("pgw1", "pgw2")),))
    await play(plan_of(network, 6, (Restart(Element.PGW, 300.0, 60.0),)), port)
    for host in (b"pgw1.sim.example.net", b"pgw2.sim.example.net"):
        states = [cer.origin_state_id for cer in fake.cers if cer.origin_host == host]
        assert len(states) == 2 and states[0] < states[1]
        assert [dpr.disconnect_cause for dpr in fake.dprs if dpr.origin_host == host] == [
            0,
            2,
        ]  # REBOOTING, then the end
        sent = [one.origin_state_id for one in fake.requests if one.origin_host == host]
        assert set(sent) == set(states) and sent == sorted(sent), "a dialect may have it in each request"


@pytest.mark.parametrize(
    ("dialect", "command", "said", "goes_on"),
    [
        ("pgw", ReAuthRequest, 2002, True),
        ("open5gs", ReAuthRequest, 2001, True),
        ("open5gs", AbortSessionRequest, 5012, False),
        ("cisco", AbortSessionRequest, 2001, True),
    ],
)
async def test_answers_to_rar_and_asr_are_those_of_the_dialect(
    server: tuple[Server, int], dialect: str, command: type[Any], said: int, goes_on: bool
) -> None:
    """`goes_on`: an update or the termination follows at once."""
    fake, port = server
    network = Network(("dra1",), (Group(Element.PGW, dialect, ("pgw1",)),))
    engine = Engine(plan_of(network, 1), target(port), speed=100.0, seed=1)
    running = asyncio.create_task(engine.run())
    await until(lambda: fake.requests)
    request = command()
    request.session_id, request.origin_host, request.origin_realm = fake.requests[0].session_id, b"ocs", b"example.net"
    request.destination_host, request.destination_realm = b"pgw1.sim.example.net", SIMULATED_REALM.encode()
    request.auth_application_id = 4
    fake.writers["dra1.sim.example.net"].write(request.as_bytes())
    answer = await asyncio.wait_for(fake.answered.get(), PATIENCE_S)
    assert answer.result_code == said
    await asyncio.sleep(0.1)
    assert (len(fake.requests) > 1) is goes_on
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


# -- the scenario file


def test_a_network_is_read_and_its_peers_are_told() -> None:
    scenario = load_scenario("agents")
    entries = list(peer_entries(scenario.network, SIMULATED_REALM))
    told = tomllib.loads("\n".join(entry.toml() for entry in entries))["peer"]
    relays = [peer["origin_host"] for peer in told if peer.get("kind") == "relay"]
    assert relays == ["dra1.sim.example.net", "dra2.sim.example.net"]
    groups = Counter(peer["failover_group"] for peer in told if "failover_group" in peer)
    assert groups["smf1"] == groups["scscf1"] == 2 and len(groups) == 9
    assert [each.host for each in scenario.network.failovers] == ["dra1", "dra2", "pgw1", "ims2", "smf2"]


def test_without_a_network_each_kind_is_one_peer() -> None:
    entries = list(peer_entries(load_scenario("busy_hour").network, SIMULATED_REALM))
    assert [entry.origin_host.partition(".")[0] for entry in entries] == [element.value for element in Element]
    assert not any(entry.failover_group or entry.relay for entry in entries)


def test_sessions_are_shared_by_the_groups_weights_and_a_subscriber_has_one_home() -> None:
    groups = (Group(Element.PGW, "pgw", ("a", "b"), 3.0), Group(Element.PGW, "cisco", ("c",), 1.0))
    network = Network((), groups)
    homes = Counter(network.home(Element.PGW, str(38668100000 + number))[1] for number in range(4000))
    assert {host: round(count / 4000, 1) for host, count in homes.items()} == {"a": 0.4, "b": 0.4, "c": 0.2} or (
        abs(homes["c"] / 4000 - 0.25) < 0.05
    )
    assert network.home(Element.PGW, "38668100000") == network.home(Element.PGW, "38668100000")


GROUP = {"element": "pgw", "hosts": ["a"]}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"network": {"group": [{**GROUP, "element": "hss"}]}}, r"group\[0\].element is 'hss'"),
        ({"network": {"group": [{**GROUP, "dialect": "kamailio"}]}}, "is one of ims, not of pgw"),
        ({"network": {"group": [{**GROUP, "hosts": []}]}}, "needs hosts"),
        ({"network": {"group": [GROUP, GROUP]}}, "a occurs more than once"),
        ({"network": {"agents": ["a"], "group": [GROUP]}}, "a occurs more than once"),
        ({"network": {"agents": "a"}}, "network.agents must be a list"),
        ({"failover": [{"at_s": 1, "for_s": 1, "host": "x"}]}, r"failover\[0\].host is 'x'"),
        ({"failover": [{"at_s": 1, "for_s": 1, "host": "pgw", "link": "server"}]}, "of an agent"),
    ],
)
def test_a_mistake_in_the_network_is_named(table: dict[str, Any], said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        read_network(table)


# -- the real server


@pytest.mark.long
def test_the_books_are_right_after_failovers_and_restarts(tmp_path: Path) -> None:
    """The shipped scenario with all its failures against `ocs serve`: every request answered, every repetition with the
    same answer, each cent explained by the audit from outside.
    """
    scenario = replace(load_scenario("agents"), subscribers=60)
    prices = PriceList.read(CATALOGUE)
    plan, blocked = _with_a_long_session(make_plan(scenario, 4, prices.package_prices))
    ports = free_port(), free_port(), free_port()
    config = write_config(tmp_path, CATALOGUE, ports, scenario.network)
    with ServerProcess(config, ports[2], tmp_path / "server.log"):
        provision(plan, config, tmp_path, _quiet())
        care = ApiClient(ports[1], ocs(["key", "create", "--role", "care", "--name", "test"], config).strip())
        care.wait_until_up()
        outcome = run_plan(
            *(plan, target(ports[0])),
            name=scenario.name,
            seed=4,
            speed=90.0,
            beside=lambda: _bar_and_block(blocked, care),
        )
        add_audits(outcome, records=tmp_path / "data" / "records", prices=prices, ocs_config=config)
    assert outcome.audit is not None
    assert outcome.ok, (outcome.audit.findings, outcome.books_findings, outcome.tally.unequal_texts)
    summary = outcome.summary
    assert summary.failovers > 5 and summary.sessions_moved > 0 and summary.sessions_died > 0
    asked = outcome.tally.asked
    assert asked["RAR", "asked again"] > 0 and asked["ASR", "ended"] > 0, asked
    assert outcome.audit.services_compared > 50 and outcome.audit.uncertain == 0


def _with_a_long_session(plan: Plan) -> tuple[Plan, str]:
    """One more data session, as long as the run, of somebody whose P-GW acts at an ASR; and the MSISDN."""
    acts = (one for one in plan.subscribers if plan.network.home(Element.PGW, one.msisdn)[0].dialect == "cisco")
    who = max(acts, key=lambda one: float(one.credit))
    uses = (PlannedUse(100, "data", 90 * MB),)
    more = PlannedSession(len(plan.sessions), 0.0, "data", Element.PGW, who, HOME, uses, 880.0)
    return replace(plan, sessions=(more, *plan.sessions)), who.msisdn


async def _bar_and_block(msisdn: str, care: ApiClient) -> None:
    """In the middle of the session: the server sends a RAR, then an ASR, through the agents."""
    await asyncio.sleep(1)
    await asyncio.to_thread(care.put, f"/accounts/{msisdn}/bars", {"bars": ["premium"]})
    await asyncio.sleep(1)
    await asyncio.to_thread(care.post, f"/accounts/{msisdn}/blocks", {"reason": "lost"})


def _quiet() -> Any:
    from rich.console import Console

    return Console(quiet=True)
