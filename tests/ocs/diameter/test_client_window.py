"""RARs to clients behind one relay: a silent client delays no other."""

from __future__ import annotations

from ocs.diameter import outbound
from ocs.diameter.client_window import FIRST_WINDOW, WIDEST_WINDOW
from ocs.diameter.outstanding import MAX_OUTSTANDING
from ocs.settings.diameter import PeerConfig
from protocol.commands import ReAuthAnswer
from tests.ocs.diameter.test_outbound import DRA, PGW, World


def behind(world: World, host: str, count: int) -> None:
    for number in range(count):
        world.hear(sid=f"{host};{number}", relay=DRA, host=host)


def told(world: World, host: str) -> list[int]:
    """Number of requests sent to this client so far."""
    return [number for number, (_, request, _) in enumerate(world.asked) if request.destination_host == host]


def test_a_silent_client_behind_a_relay_delays_no_other() -> None:
    world = World(PeerConfig(DRA, relay=True))
    world.here.add(DRA)
    behind(world, "silent.a1.net", 2_000)
    assert len(world.asked) == FIRST_WINDOW
    behind(world, PGW, 1)
    assert told(world, PGW) == [FIRST_WINDOW], "at once"
    for _, _, done in world.asked[:FIRST_WINDOW]:
        done(None)
    under_way = len(world.asked) - FIRST_WINDOW - 1
    assert under_way == 1, "one at a time until it answers"
    world.asked[-1][2](ReAuthAnswer("s", 2002))
    assert len(told(world, "silent.a1.net")) == FIRST_WINDOW + 1 + 2, "and with each answer one more"


def test_a_client_that_answers_may_use_half_of_its_relays_window() -> None:
    world = World(PeerConfig(DRA, relay=True))
    world.here.add(DRA)
    behind(world, PGW, 1_000)
    for answered in range(300):
        world.asked[answered][2](ReAuthAnswer("s", 2002))
    assert len(world.asked) - 300 == WIDEST_WINDOW


def test_waiting_clients_are_served_in_turn() -> None:
    world = World(PeerConfig(DRA, relay=True))
    world.here.add(DRA)
    full = MAX_OUTSTANDING // FIRST_WINDOW
    for number in range(full):
        behind(world, f"silent{number}.a1.net", 100)
    assert len(world.asked) == MAX_OUTSTANDING
    behind(world, "one.a1.net", 50)
    behind(world, "two.a1.net", 50)
    for number in range(0, 6 * FIRST_WINDOW, FIRST_WINDOW):
        world.asked[number][2](None)
    assert told(world, "one.a1.net") == [MAX_OUTSTANDING + number for number in (0, 2, 4)]
    assert told(world, "two.a1.net") == [MAX_OUTSTANDING + number for number in (1, 3, 5)]


def test_a_rar_that_waits_too_long_is_dropped() -> None:
    world = World(PeerConfig(DRA, relay=True))
    world.here.add(DRA)
    behind(world, "silent.a1.net", 2_000)
    world.now += outbound.LONGEST_WAIT_S + 1
    for _, _, done in list(world.asked):
        done(None)
    assert world.counted["answer", "RAR", "given_up"] == 2_000 - FIRST_WINDOW
    assert len(world.requests._jobs) == FIRST_WINDOW and not world.requests._queues
