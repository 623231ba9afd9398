"""A network element in one session, with answers made by the test: no server, no waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from simulator.behaviour import SessionRun
from simulator.plan import PlannedSession, PlannedUse
from simulator.requests import Element, Kind, Place, Reaction, Request, Subscriber
from simulator.tally import Tally
from simulator.wire import Answer, Head, ServiceAnswer

HOME = Place("home", "29340", "38640000001")
ALICE = Subscriber("38668100001", "293400000000001")
HEAD = Head(0, 0x40, 272, 4, 1, 1)
Reply = Callable[[Request], Answer | None]


class Clock:
    """Simulated time that passes at once; records the waits."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def unix_s(self) -> int:
        return 1_790_000_000

    def now_s(self) -> float:
        return self.waits[-1] if self.waits else 0.0

    async def sleep_until(self, when_s: float, interrupted: asyncio.Event | None = None) -> None:
        self.waits.append(when_s)


def session(*uses: PlannedUse, duration_s: float = 100.0, **changes: object) -> PlannedSession:
    values: dict[str, object] = {
        "index": 0,
        "start_s": 10.0,
        "traffic": "data",
        "element": Element.PGW,
        "subscriber": ALICE,
        "place": HOME,
        "uses": uses,
        "duration_s": duration_s,
        **changes,
    }
    return PlannedSession(**values)


def granting(units: int, **more: object) -> Reply:
    """Grants this much to every MSCC that requests units."""

    def reply(request: Request) -> Answer:
        services = [
            ServiceAnswer(part.rating_group, None, 2001, None if part.wanted is None else units, "octets", **more)
            for part in request.parts
        ]
        return Answer(HEAD, 2001, services=services)

    return reply


async def play(planned: PlannedSession, reply: Reply) -> tuple[list[Request], SessionRun, Tally, Clock]:
    asked: list[Request] = []
    tally, clock = Tally(), Clock()

    async def ask(request: Request, lost: frozenset[int]) -> Answer | None:
        asked.append(request)
        return reply(request)

    run = SessionRun(planned, "s", clock, ask, tally)
    await run.run()
    return asked, run, tally, clock


def used(asked: list[Request]) -> list[tuple[str, int]]:
    return [(request.kind.value, sum(part.used or 0 for part in request.parts)) for request in asked]


async def test_grants_are_used_up_and_the_rest_is_reported_with_the_termination() -> None:
    asked, run, _, clock = await play(session(PlannedUse(100, "data", 2500)), granting(1000))
    assert used(asked) == [("I", 0), ("U", 1000), ("U", 1000), ("T", 500)]
    assert [request.number for request in asked] == [0, 1, 2, 3]
    assert [part.reason for request in asked for part in request.parts] == [None, 3, 3, 2]
    assert clock.waits[:2] == [50.0, 90.0]  # 25 octets a second, from second 10 on
    assert (run.report.services[0].used, run.report.closed) == (2500, True)


async def test_each_request_is_kept_for_the_audit_with_what_its_answer_granted() -> None:
    planned = session(PlannedUse(100, "data", 2500), PlannedUse(900, "portal", 10))
    _, run, tally, _ = await play(planned, granting(1000))
    steps = run.report.steps
    assert [(step.kind, step.number, step.place, step.code) for step in steps] == [
        ("I", 0, "home", 2001), ("U", 1, "home", 2001), ("U", 2, "home", 2001), ("T", 3, "home", 2001),
    ]  # fmt: skip
    assert [[(part.service, part.used, part.granted) for part in step.parts] for step in steps] == [
        [(0, 0, 1000), (1, 0, 1000)], [(0, 1000, 1000)], [(0, 1000, 1000)], [(0, 500, 0), (1, 10, 0)],
    ]  # fmt: skip
    assert all(step.sent <= step.answered for step in steps)
    assert tally.steps_kept == 4


async def test_an_unanswered_request_has_no_code_and_a_debit_used_what_was_granted() -> None:
    _, lost, *_ = await play(session(PlannedUse(100, "data", 2500)), lambda _: None)
    assert [(step.code, step.parts[0].granted) for step in lost.report.steps] == [(0, 0)]
    message = session(PlannedUse(None, "sms", 2), traffic="sms", element=Element.SMSC, duration_s=0.0)
    _, sent, *_ = await play(message, granting(2))
    assert [(step.kind, step.parts[0].used, step.parts[0].granted) for step in sent.report.steps] == [("E", 2, 0)]


async def test_a_threshold_makes_it_ask_before_the_grant_ends() -> None:
    """TS 32.299 §7.2.245: re-authorise when what remains is below the threshold."""
    asked, *_ = await play(session(PlannedUse(100, "data", 2500)), granting(1000, threshold=200))
    assert used(asked) == [("I", 0), ("U", 800), ("U", 800), ("U", 800), ("T", 100)]
    assert asked[1].parts[0].reason == 0


async def test_final_units_are_used_to_the_end_and_then_the_service_ends() -> None:
    """RFC 8506 §5.6.1: TERMINATE. The call is ended; the data connection stays until its subscriber leaves."""
    for traffic, ended_s in (("voice", 50.0), ("data", 110.0)):
        planned = session(PlannedUse(100, "data", 2500), traffic=traffic)
        asked, run, *_ = await play(planned, granting(1000, threshold=200, final_action=0))
        assert used(asked) == [("I", 0), ("T", 1000)]
        assert run.report.ended_s == ended_s


async def test_validity_time_makes_it_report_what_was_used_so_far() -> None:
    asked, *_ = await play(session(PlannedUse(100, "data", 2500)), granting(100_000, validity_s=30))
    assert used(asked) == [("I", 0), ("U", 750), ("U", 750), ("U", 750), ("T", 250)]
    assert asked[1].parts[0].reason == 4


async def test_two_rating_groups_run_side_by_side_and_each_reports_its_own() -> None:
    uses = PlannedUse(100, "data", 2500), PlannedUse(900, "portal", 300)
    asked, run, *_ = await play(session(*uses), granting(1000))
    assert [tuple(part.rating_group for part in request.parts) for request in asked] == [
        (100, 900),
        (100,),
        (100,),
        (100, 900),
    ]
    assert [service.used for service in run.report.services] == [2500, 300]


async def test_a_refused_service_stops_and_the_other_goes_on() -> None:
    def reply(request: Request) -> Answer:
        answer = granting(1000)(request)
        assert answer is not None
        for service in answer.services:
            if service.rating_group == 900:
                service.result_code, service.granted = 4012, None
        return answer

    uses = PlannedUse(100, "data", 1500), PlannedUse(900, "portal", 300)
    asked, run, tally, _ = await play(session(*uses), reply)
    assert [service.used for service in run.report.services] == [1500, 0]
    assert run.report.services[1].refused == 4012
    assert tally.blocked_accounts == {ALICE.msisdn: "zero"}
    assert used(asked)[-1] == ("T", 500)


async def test_a_command_level_refusal_ends_the_session_without_a_termination() -> None:
    """RFC 8506 §7, table 6: an answer that is not a success leaves no session to terminate."""
    for code in (4010, 4012, 5030, 5031):
        asked, _, tally, _ = await play(session(PlannedUse(100, "data", 2500)), lambda _, code=code: Answer(HEAD, code))  # type: ignore[misc]
        assert used(asked) == [("I", 0)]
        assert tally.blocked_accounts[ALICE.msisdn] == ("zero" if code == 4012 else "other")


async def test_use_reported_in_a_refused_update_counts() -> None:
    """RFC 8506 §9.1: 4012; the reported use is still debited."""
    asked, run, *_ = await play(
        session(PlannedUse(100, "data", 2500)),
        lambda request: granting(1000)(request) if request.number == 0 else Answer(HEAD, 4012),
    )
    assert used(asked) == [("I", 0), ("U", 1000)]
    assert (run.report.services[0].used, run.report.uncertain) == (1000, False)


async def test_an_unanswered_or_failed_report_leaves_the_session_uncertain() -> None:
    for last in (None, Answer(HEAD, 3004)):
        _, run, *_ = await play(
            session(PlannedUse(100, "data", 2500)),
            lambda request, last=last: granting(1000)(request) if request.number == 0 else last,  # type: ignore[misc]
        )
        assert run.report.uncertain


async def test_a_dying_session_sends_no_termination_and_reports_no_more() -> None:
    asked, run, tally, _ = await play(session(PlannedUse(100, "data", 2500), dies=True), granting(1000))
    assert used(asked) == [("I", 0), ("U", 1000), ("U", 1000)]
    assert (run.report.services[0].used, tally.died) == (2000, 1)


async def test_a_message_is_one_event() -> None:
    planned = session(PlannedUse(None, "sms", 1), duration_s=0.0, element=Element.SMSC, traffic="sms")
    asked, run, *_ = await play(planned, granting(1))
    assert [(request.kind, request.parts[0].wanted) for request in asked] == [(Kind.EVENT, 1)]
    assert run.report.services[0].used == 1


async def test_a_message_in_two_steps_reports_it_when_delivered() -> None:
    planned = session(PlannedUse(None, "sms", 1), duration_s=0.0, element=Element.SMSC, traffic="sms", two_step=True)
    asked, run, *_ = await play(planned, granting(1))
    assert used(asked) == [("I", 0), ("T", 1)]
    assert run.report.services[0].used == 1


async def test_limited_accounts_count_as_blocked_by_their_limit() -> None:
    bob = Subscriber("38668100002", "293400000000002", limit="0.15")
    _, _, tally, _ = await play(session(PlannedUse(100, "data", 10), subscriber=bob), lambda _: Answer(HEAD, 4012))
    assert tally.blocked_accounts == {bob.msisdn: "limit"}


# -- requests of the server


class Asking(Clock):
    """The server sends RAR or ASR in one of the session's waits."""

    def __init__(self, command: str, in_wait: int) -> None:
        super().__init__()
        self.command, self.in_wait = command, in_wait
        self.run: SessionRun | None = None
        self.answers: list[int | None] = []

    async def sleep_until(self, when_s: float, interrupted: asyncio.Event | None = None) -> None:
        if len(self.waits) == self.in_wait:
            assert self.run is not None
            self.answers.append(self.run.asked(self.command))
            if interrupted is not None and interrupted.is_set():
                when_s = (self.now_s() + when_s) / 2
        self.waits.append(when_s)


async def asked_in_a_wait(
    planned: PlannedSession, reply: Reply, command: str, in_wait: int
) -> tuple[list[Request], Tally, list[int | None]]:
    sent: list[Request] = []
    tally, clock = Tally(), Asking(command, in_wait)

    async def ask(request: Request, lost: frozenset[int]) -> Answer | None:
        sent.append(request)
        return reply(request)

    clock.run = SessionRun(planned, "s", clock, ask, tally)
    await clock.run.run()
    return sent, tally, clock.answers


async def test_a_rar_is_followed_by_an_update_of_what_was_used_so_far() -> None:
    """RFC 8506 §5.5; Reporting-Reason 7 (TS 32.299 §7.2.175)."""
    planned = session(PlannedUse(100, "data", 2500))
    sent, tally, answers = await asked_in_a_wait(planned, granting(1000), "RAR", 1)
    assert answers == [2002] and tally.asked == {("RAR", "asked again"): 1}
    assert used(sent) == [("I", 0), ("U", 1000), ("U", 500), ("T", 1000)]
    assert (sent[2].parts[0].reason, sent[2].parts[0].wanted) == (7, 0)
    assert sum(count for _, count in used(sent)) == 2500


async def test_a_session_that_waits_at_zero_goes_on_when_asked() -> None:
    """The last units are used; a top-up; the server sends a RAR."""

    def reply(request: Request) -> Answer | None:
        return granting(1000, final_action=0 if request.number == 0 else None)(request)

    planned = session(PlannedUse(100, "data", 2500))
    sent, tally, answers = await asked_in_a_wait(planned, reply, "RAR", 1)
    assert answers == [2002] and tally.went_on == {ALICE.msisdn}
    assert used(sent)[:2] == [("I", 0), ("U", 1000)], "what was used of the last units is reported with it"
    assert sum(count for _, count in used(sent)) > 1000


async def test_an_asr_ends_the_session() -> None:
    planned = session(PlannedUse(100, "data", 2500))
    sent, tally, answers = await asked_in_a_wait(planned, granting(1000), "ASR", 0)
    assert answers == [2001] and tally.asked == {("ASR", "ended"): 1}
    assert [request.kind for request in sent] == [Kind.INITIAL, Kind.TERMINATION]
    assert sent[1].parts[0].used == 375, "25 octets a second, 15 s after its start"


async def test_clients_that_do_nothing_or_say_nothing() -> None:
    for reaction, expected in (
        (Reaction.IGNORES, {"RAR": 2001, "ASR": 5012}),
        (Reaction.SILENT, {"RAR": None, "ASR": None}),
    ):
        for command, answer in expected.items():
            planned = session(PlannedUse(100, "data", 2500), reaction=reaction)
            sent, _, answers = await asked_in_a_wait(planned, granting(1000), command, 1)
            assert answers == [answer]
            assert used(sent) == [("I", 0), ("U", 1000), ("U", 1000), ("T", 500)], "as if nothing had been asked"


AUSTRIA = Place("eu", "23201", "436640000001")


async def test_a_move_is_reported_at_once_if_the_answer_armed_its_trigger() -> None:
    """TS 32.299 §6.5.4: use so far with Reporting-Reason 6 and the Trigger-Types; new units from the new place on."""
    planned = session(PlannedUse(100, "data", 2500), PlannedUse(900, "portal", 1000), moves=((50.0, AUSTRIA),))

    def reply(request: Request) -> Answer:
        services = [
            ServiceAnswer(
                part.rating_group, None, 2001, 5000, "octets", triggers=(4, 30) if part.rating_group == 100 else ()
            )
            for part in request.parts
        ]
        return Answer(HEAD, 2001, services=services)

    asked, run, *_ = await play(planned, reply)
    assert [(request.kind, request.place.id) for request in asked] == [("I", "home"), ("U", "eu"), ("T", "eu")]
    (part,) = asked[1].parts
    assert (part.rating_group, part.used, part.wanted, part.reason, part.triggers) == (100, 1000, 0, 6, (30,))
    assert [part.used for part in asked[2].parts] == [1500, 1000]
    assert (run.report.place, run.report.other_places) == ("home", ("eu",))


async def test_a_move_that_no_trigger_names_is_told_with_the_next_request() -> None:
    planned = session(PlannedUse(100, "data", 2500), moves=((50.0, AUSTRIA),))
    asked, *_ = await play(planned, granting(5000, triggers=(4,)))
    assert [(request.kind, request.place.id) for request in asked] == [("I", "home"), ("T", "eu")]


async def test_use_after_a_tariff_change_is_told_apart() -> None:
    """RFC 8506 §8.20, TS 32.299 §6.5.2: a hundred seconds of 25 units, the price changes after forty."""

    class Passing(Clock):
        def unix_s(self) -> int:
            return 1_790_000_000 + int(self.now_s())

    clock, asked = Passing(), list[Request]()

    async def ask(request: Request, lost: frozenset[int]) -> Answer | None:
        asked.append(request)
        return granting(5000, changes_at=1_790_000_050)(request)

    clock.waits.append(10.0)  # the session begins at second 10
    await SessionRun(session(PlannedUse(100, "data", 2500)), "s;1", clock, ask, Tally()).run()
    (last,) = asked[-1].parts
    assert (last.used, last.used_after) == (2500, 1500)


async def test_a_forwarded_leg_is_marked_for_the_audit() -> None:
    for mode, what in ((0, "early"), (3, "early"), (1, "late"), (5, "late"), (None, "")):
        planned = session(
            PlannedUse(None, "voice", 60), traffic="voice", element=Element.IMS, forwarding=mode, caller="3"
        )
        asked, run, *_ = await play(planned, granting(300))
        assert run.report.forwarding == what
        assert {(request.forwarding, request.caller) for request in asked} == {(mode, "3")}
