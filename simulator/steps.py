"""What the audit keeps of a request and its answer (`simulator.tally.Step`)."""

from __future__ import annotations

import time

from simulator.requests import Kind, Request
from simulator.tally import SUCCESS, SessionReport, Step, StepPart
from simulator.wire import Answer, ServiceAnswer


def step_of(report: SessionReport, request: Request, answer: Answer | None, until: int, sent: float) -> Step:
    """A request as the audit reads it. `until`: Unix seconds of its answer, `sent`: monotonic seconds."""
    parts = []
    for part in request.parts:
        groups = [service.rating_group for service in report.services]
        index = groups.index(part.rating_group) if part.rating_group in groups else 0
        found = service_for(answer, part.rating_group) if answer is not None else ServiceAnswer(part.rating_group)
        code = found.result_code or (answer.result_code if answer is not None else 0)
        granted = (found.granted or 0) if code == SUCCESS and request.kind is not Kind.TERMINATION else 0
        is_event = request.kind is Kind.EVENT
        parts.append(
            StepPart(
                index,
                used=granted if is_event else part.used or 0,
                used_after=part.used_after,
                wanted=part.wanted,
                granted=0 if is_event else granted,
                code=code,
                final=found.final_action is not None,
                changes_at=found.changes_at,
            )
        )
    return Step(
        kind=request.kind.value,
        number=request.number,
        place=request.place.id,
        code=answer.result_code if answer is not None else 0,
        at=request.at,
        until=until,
        sent=sent,
        answered=time.monotonic(),
        parts=tuple(parts),
    )


def service_for(answer: Answer, rating_group: int | None) -> ServiceAnswer:
    """The part of an answer for a rating group, or for the only service; else the command level."""
    for service in answer.services:
        if service.rating_group == rating_group:
            return service
    if len(answer.services) == 1 and (rating_group is None or answer.services[0].rating_group is None):
        return answer.services[0]
    return answer.command
