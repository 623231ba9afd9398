"""Decoding by a known layout gives the codec's result, for any message; learning stays within its limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import islice, permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol import layout, pipeline
from protocol.avp import encode_avp, walk
from protocol.compiler import Codec, Fault
from protocol.credit_control import (
    _CCA,
    _CCR,
    CreditControlRequest,
    MultipleServicesCreditControl,
    SubscriptionId,
    UsedServiceUnit,
    encode_cca,
    encode_ccr,
)
from protocol.errors import DiameterError
from protocol.header import HEADER_OCTETS, Header, build, parse_header
from protocol.layout import Layout, Layouts
from tests.protocol import captures
from tests.protocol.strategies import CCAS, CCRS

M = 0x40
REQUESTS = [frame for path in captures.BY_CLIENT.values() for frame in captures.requests(path)]
ANSWERS = [frame for path in captures.BY_CLIENT.values() for frame in captures.answers(path)]
few = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


def ccr(session_id: str = "pgw.example.org;1;2", **more: Any) -> bytes:
    used = [UsedServiceUnit(cc_total_octets=5_000, event_charging_timestamp=[1_790_000_000, 1_790_000_001])]
    message = CreditControlRequest(
        session_id,
        "pgw.example.org",
        "example.org",
        "example.org",
        4,
        "32251@3gpp.org",
        2,
        1,
        subscription_id=[SubscriptionId(0, "38668100000"), SubscriptionId(1, "293400000000001")],
        multiple_services_credit_control=[MultipleServicesCreditControl(rating_group=100, used_service_unit=used)],
        **more,
    )
    return encode_ccr(message, hop_by_hop=1, end_to_end=2)


def avps(frame: bytes) -> list[bytes]:
    return [frame[avp.start : (avp.stop + 3) & ~3] for avp in walk(frame, HEADER_OCTETS, len(frame))]


def frame_of(parts: list[bytes]) -> bytes:
    return build(b"".join(parts), 0xC0, 272, 4, 1, 2)


def orders(frame: bytes, count: int) -> list[bytes]:
    """The same message with its AVPs in different orders: equal lengths, different layouts."""
    return [frame_of(list(order)) for order in islice(permutations(avps(frame)), count)]


def walked(codec: Codec[Any], frame: bytes) -> Any:
    try:
        return codec.read(frame, HEADER_OCTETS, len(frame))
    except Fault:
        return Fault


def read(layouts: Layouts[Any], frame: bytes) -> Any:
    try:
        return layouts.read(frame)
    except Fault:
        return Fault


def learned(codec: Codec[Any], *frames: bytes) -> Layouts[Any]:
    layouts = Layouts(codec)
    for frame in frames:
        layouts.read(frame)
        layouts.read(frame)
    return layouts


def of_frame(layouts: Layouts[Any], frame: bytes) -> Layout | None:
    number = int.from_bytes(frame, "big")
    for known in layouts._by_length.get(len(frame), ()):
        if number & known.mask == known.pattern:
            return known
    return None


def is_ready(layouts: Layouts[Any], frame: bytes) -> bool:
    known = of_frame(layouts, frame)
    return known is not None and known.build is not None


class Counted:
    """A codec that counts its calls."""

    def __init__(self, codec: Codec[Any]) -> None:
        self._codec = codec
        self.walks = 0

    def read(self, data: bytes, position: int, end: int) -> Any:
        self.walks += 1
        return self._codec.read(data, position, end)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codec, name)


# --- equality with the walk ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("codec", "frames"), [(_CCR, REQUESTS), (_CCA, ANSWERS)], ids=["CCR", "CCA"])
def test_captures(codec: Codec[Any], frames: list[bytes]) -> None:
    layouts = learned(codec, *frames)
    counted = layouts._codec = Counted(codec)  # type: ignore[assignment]
    for frame in frames:
        assert is_ready(layouts, frame)
        assert layouts.read(frame) == walked(codec, frame)
    assert counted.walks == 0


@given(CCRS)
@few
def test_drawn_requests(message: CreditControlRequest) -> None:
    frame = encode_ccr(message, hop_by_hop=1, end_to_end=2)
    layouts = learned(_CCR, frame)
    assert is_ready(layouts, frame)
    first, second = layouts.read(frame), layouts.read(frame)
    assert first == message == second == walked(_CCR, frame)
    assert first.proxy_info is not second.proxy_info  # nobody else's lists


@given(CCAS)
@few
def test_drawn_answers(message: Any) -> None:
    frame = encode_cca(message, Header(0, 0xC0, 272, 4, 7, 8), "ocs.example.org", "example.org")
    layouts = learned(_CCA, frame)
    assert is_ready(layouts, frame)
    assert layouts.read(frame) == message


@given(CCRS, st.data())
@few
def test_drawn_requests_with_octets_changed(message: CreditControlRequest, data: st.DataObject) -> None:
    """The octet may be of a header, a value or padding."""
    frame = encode_ccr(message, hop_by_hop=1, end_to_end=2)
    layouts = learned(_CCR, frame)
    for _ in range(20):
        changed = bytearray(frame)
        for _ in range(data.draw(st.integers(1, 3))):
            changed[data.draw(st.integers(HEADER_OCTETS, len(frame) - 1))] ^= data.draw(st.integers(1, 255))
        mutated = bytes(changed)
        assert read(layouts, mutated) == walked(_CCR, mutated)


def outcome(frame: bytes) -> Any:
    try:
        return pipeline.decode_request(frame, parse_header(frame))
    except DiameterError as error:
        return error.result_code, error.message, error.failed_avp, error.protocol_error, error.close


@pytest.mark.parametrize("frame", [*captures.requests(captures.OPEN5GS), *captures.requests(captures.KAMAILIO), ccr()])
def test_every_octet_changed_gives_the_walks_object_or_its_error(frame: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    command = pipeline.COMMANDS[4, 272]
    with_layouts = dataclasses.replace(command, layouts=learned(_CCR, frame))
    without = dataclasses.replace(command, layouts=None)
    for position in range(HEADER_OCTETS, len(frame)):
        for change in (0x01, 0x80, 0xFF):
            mutated = frame[:position] + bytes([frame[position] ^ change]) + frame[position + 1 :]
            monkeypatch.setitem(pipeline.COMMANDS, (4, 272), with_layouts)
            by_layout = outcome(mutated)
            monkeypatch.setitem(pipeline.COMMANDS, (4, 272), without)
            assert by_layout == outcome(mutated), position


def test_equal_lengths_and_other_shapes() -> None:
    frames = orders(ccr(), layout.MAX_LAYOUTS_PER_LENGTH)
    layouts = learned(_CCR, *frames)
    assert all(is_ready(layouts, frame) for frame in frames)
    assert len({known.shape for known in layouts._layouts}) > 1
    for frame in frames:
        assert layouts.read(frame) == walked(_CCR, frame)


def test_padding_does_not_matter() -> None:
    frame = ccr()
    avp = next(avp for avp in walk(frame, HEADER_OCTETS, len(frame)) if avp.stop & 3)
    layouts = learned(_CCR, frame)
    other = frame[: avp.stop] + b"\xff" + frame[avp.stop + 1 :]
    assert is_ready(layouts, other)
    assert layouts.read(other) == layouts.read(frame) == walked(_CCR, other)


def test_the_second_of_a_doubled_identity_is_looked_at_and_left_aside() -> None:
    first = ccr()
    doubled = [*avps(first), encode_avp(264, 0, M, b"other.example.org")]
    layouts = learned(_CCR, frame_of(doubled))
    assert layouts.read(frame_of(doubled)).origin_host == "pgw.example.org"
    wrong = frame_of([*doubled[:-1], encode_avp(264, 0, M, b"\xffther.example.org")])
    assert is_ready(layouts, wrong)
    assert read(layouts, wrong) is walked(_CCR, wrong) is Fault


@pytest.mark.parametrize(
    "last",
    [
        encode_avp(282, 0, M, b"relay.example.org"),  # Route-Record
        encode_avp(284, 0, M, encode_avp(280, 0, M, b"relay.example.org")),  # Proxy-Info
        encode_avp(999_999, 0, 0, b"not known"),
        encode_avp(437, 0, M, b""),  # Requested-Service-Unit, an empty group
        encode_avp(456, 0, M, encode_avp(432, 0, M, bytes(4))[:11] + b"\x07"),
        encode_avp(1, 0, M, b"tail")[:-1] + b"l",
    ],
)
def test_kinds_that_are_not_in_every_message(last: bytes) -> None:
    frame = frame_of([*avps(ccr()), last])
    layouts = learned(_CCR, frame)
    assert is_ready(layouts, frame)
    assert layouts.read(frame) == walked(_CCR, frame)


@pytest.mark.parametrize("inside", [(b"",), (b"x",), (b"", b"", b"x"), (b"", b"")])
def test_failed_avps_of_an_answer(inside: tuple[bytes, ...]) -> None:
    rest = avps(captures.answers(captures.OPEN5GS)[0])
    failed = [encode_avp(279, 0, M, encode_avp(461, 0, M, text) if text else b"") for text in inside]
    frame = build(b"".join([*rest, *failed]), 0x40, 272, 4, 1, 2)
    layouts = learned(_CCA, frame)
    assert is_ready(layouts, frame)
    assert layouts.read(frame) == walked(_CCA, frame)


def test_a_group_without_the_padding_of_its_last_avp() -> None:
    service = encode_avp(456, 0, M, encode_avp(1440, 10415, 0, b"x")[:13])
    frame = frame_of([*avps(ccr()), service, service])
    layouts = learned(_CCR, frame)
    assert layouts.read(frame) == walked(_CCR, frame)


# --- learning and its bounds -----------------------------------------------------------------------------------------


def test_noted_at_first_sight_and_used_from_the_third() -> None:
    counted = Counted(_CCR)
    layouts: Layouts[Any] = Layouts(counted)
    walks = []
    for number in range(4):
        layouts.read(ccr(f"pgw.example.org;{number};2"))
        walks.append(counted.walks)
    assert walks == [1, 2, 2, 2]


def test_layouts_of_one_shape_share_a_function() -> None:
    frames = [ccr("pgw.example.org;" + "7" * size) for size in range(1, 30)]
    layouts = learned(_CCR, *frames)
    assert all(is_ready(layouts, frame) for frame in frames)
    assert len(layouts._builders) == 1


def test_what_faults_is_not_learned() -> None:
    frame = frame_of([*avps(ccr()), encode_avp(999_999, 0, M, b"what")])
    layouts = Layouts(_CCR)
    for _ in range(3):
        assert read(layouts, frame) is Fault
    assert not layouts._layouts


def within_bounds(layouts: Layouts[Any]) -> bool:
    listed = [known for same in layouts._by_length.values() for known in same]
    assert sorted(map(id, listed)) == sorted(map(id, layouts._layouts))
    assert all(0 < len(same) <= layout.MAX_LAYOUTS_PER_LENGTH for same in layouts._by_length.values())
    assert all(known.length == length for length, same in layouts._by_length.items() for known in same)
    builders = set(layouts._builders.values())
    assert all(known.build is None or known.build in builders for known in layouts._layouts)
    assert 0 <= layouts._survey_budget <= layout.SURVEY_BUDGET
    assert 0 <= layouts._builder_budget <= layout.BUILDER_BUDGET
    return len(layouts._layouts) <= layout.MAX_LAYOUTS and len(layouts._builders) <= layout.MAX_BUILDERS


@pytest.mark.parametrize(("max_layouts", "max_builders"), [(20, 100), (100, 5)])
def test_no_more_layouts_than_allowed(max_layouts: int, max_builders: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MAX_LAYOUTS", max_layouts)
    monkeypatch.setattr(layout, "MAX_BUILDERS", max_builders)
    layouts = Layouts(_CCR)
    most = 0
    for size in range(0, 48, 4):
        for frame in orders(ccr("s;" + "1" * size), 12):
            for _ in range(3):
                assert layouts.read(frame) == walked(_CCR, frame)
            assert within_bounds(layouts)
        most = max(most, len(layouts._layouts))
    assert most == max_layouts or len(layouts._builders) == max_builders


@pytest.mark.parametrize("flood", ["one length", "many lengths", "many shapes"])
def test_a_layout_in_use_outlives_a_flood_of_others(flood: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MAX_LAYOUTS", 20)
    monkeypatch.setattr(layout, "MAX_BUILDERS", 5)
    good, *others = orders(ccr(), 100)
    if flood == "many lengths":
        others = [ccr("pgw.example.org;" + "7" * size) for size in range(100)]
    layouts = learned(_CCR, good)
    for other in others:
        layouts.read(good)
        for _ in range(2 if flood == "many shapes" else 1):
            layouts.read(other)
        assert is_ready(layouts, good)
        assert within_bounds(layouts)


def poor() -> Layouts[Any]:
    """Layouts whose initial budgets are used up."""
    layouts = Layouts(_CCR)
    layouts._survey_budget = layouts._builder_budget = 0
    return layouts


def test_a_peer_that_never_sends_the_same_layout_twice_makes_us_learn_little(monkeypatch: pytest.MonkeyPatch) -> None:
    surveys, functions = [0], [0]
    _count(monkeypatch, "Layout", surveys)
    _count(monkeypatch, "builder_of", functions)
    layouts = poor()
    for frame in orders(ccr(), 2_000):
        layouts.read(frame)
    assert 0 < surveys[0] <= 2_000 / layout.SURVEY_COST
    assert functions[0] == 0


def test_a_peer_that_sends_every_layout_twice_makes_us_learn_little(monkeypatch: pytest.MonkeyPatch) -> None:
    functions = [0]
    _count(monkeypatch, "builder_of", functions)
    layouts = poor()
    layouts._survey_budget = layout.SURVEY_BUDGET
    for frame in orders(ccr(), 200):
        layouts.read(frame)
        layouts.read(frame)
    assert functions[0] == 0


def _count(monkeypatch: pytest.MonkeyPatch, name: str, count: list[int]) -> None:
    original: Callable[..., Any] = getattr(layout, name)

    def counted(*args: Any) -> Any:
        count[0] += 1
        return original(*args)

    monkeypatch.setattr(layout, name, counted)


def test_the_allowance_is_filled_by_walking_and_learning_goes_on() -> None:
    """Even while another peer sends a new layout each time."""
    frame = ccr()
    layouts = poor()
    others = iter(orders(ccr("pgw.example.org;longer;1"), 20_000))
    reads = 0
    while not is_ready(layouts, frame):
        layouts.read(frame)
        layouts.read(next(others))
        reads += 1
    assert reads > layout.SURVEY_COST / 2


def test_long_messages_and_long_functions_are_left_to_the_walk() -> None:
    services = [encode_avp(456, 0, M, encode_avp(432, 0, M, bytes(4)))] * 60
    many = frame_of([*avps(ccr()), *services])
    long = ccr(user_name="x" * layout.MAX_LAYOUT_OCTETS)
    layouts = learned(_CCR, many, long)
    assert of_frame(layouts, long) is None
    assert not is_ready(layouts, many)
    assert layouts.read(many) == walked(_CCR, many)
    assert not layouts._builders
