"""out/report.html: one self-contained page that shows what a run did and that the books are right."""

from __future__ import annotations

import datetime
from importlib.resources import files
from pathlib import Path

import jinja2
from markupsafe import Markup

from simulator import day_plots, plots, story_plot
from simulator.acting import DONE, REFUSED
from simulator.days import Days
from simulator.story_timeline import left
from simulator.summary import RESULT_NAMES, RunOutcome, eur, human_units


def render_report(outcome: RunOutcome, *, made_at: datetime.datetime, days: Days | None = None) -> str:
    """The page as text. `days`: of a scenario of days, whose traffic is shown by day and hour."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(eur=eur, thousands=lambda number: f"{number:,}", left=left)
    template = environment.from_string((files("simulator") / "templates" / "report.html").read_text("utf-8"))
    summary, latency = outcome.summary, outcome.summary.latency
    percentiles = {"p50": latency.p50_ms, "p99": latency.p99_ms, "p99.9": latency.p999_ms}
    return template.render(
        outcome=outcome,
        summary=summary,
        latency=latency,
        made_at=made_at.strftime("%Y-%m-%d %H:%M"),
        checks=_checks(outcome),
        services=_services(outcome),
        result_names=RESULT_NAMES,
        plot_traffic=_markup(day_plots.over_days(outcome.tally, days) if days else plots.traffic(outcome.tally)),
        plot_hours=_markup(day_plots.by_hour(outcome.tally, days)) if days else "",
        plot_latency=_markup(plots.latency(outcome.tally.latencies, percentiles)),
        plot_results=_markup(plots.results(outcome.tally)),
        plot_blocked=_markup(plots.blocked(outcome.tally)),
        plot_story=_markup(story_plot.story(outcome.story)) if outcome.story else "",
        plot_money=_markup(plots.money(outcome.money)) if outcome.money else "",
        findings=[
            *outcome.tally.unequal_texts,
            *outcome.books_findings,
            *(outcome.audit.other_findings if outcome.audit else []),
            *(outcome.acted.failures if outcome.acted else []),
        ],
        differences=outcome.audit.differences if outcome.audit else [],
    )


def write_report(outcome: RunOutcome, path: Path, *, made_at: datetime.datetime, days: Days | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_report(outcome, made_at=made_at, days=days), "utf-8")


def _markup(svg: str) -> Markup:
    return Markup(svg)  # generated from numbers only


def _checks(outcome: RunOutcome) -> list[tuple[bool, str, str]]:
    """(right?, what, how much) of each check that decides about the run."""
    summary, audit = outcome.summary, outcome.audit
    checks = [
        (not summary.unanswered, "every request was answered", f"{summary.answered:,} of {summary.requests:,}"),
        (
            not summary.unequal_repeats,
            "repetitions got the same answer and changed nothing",
            f"{summary.repeats:,} repeated"
            + (f", {summary.evaluated_anew:,} after a refusal evaluated anew" if summary.evaluated_anew else ""),
        ),
    ]
    if outcome.replayed:
        checks.append(
            (
                not outcome.replayed_unanswered + outcome.replayed_errors,
                "a real P-GW's captured session",
                f"{outcome.replayed} requests replayed",
            )
        )
    if outcome.books is not None:
        accounts = outcome.books.get("accounts")
        checks.append(
            (not outcome.books_findings, "paid in = left + held + spent, nothing negative", f"{accounts:,} accounts")
        )
    if audit is not None:
        checks.append(
            (
                not audit.other_findings,
                "used as reported = charged as recorded, priced again",
                f"{audit.services_compared:,} services",
            )
        )
        checks.append(
            (not audit.differences, "computed again on paper: who paid, fees, fair use, limits, transfers, notices",
             f"{audit.recomputed:,} accounts")
        )  # fmt: skip
    if outcome.acted is not None:
        acted = outcome.acted
        amount = f"{acted.count(DONE):,} done, {acted.count(REFUSED):,} refused"
        checks.append((not acted.failures, "orders, top-ups and vouchers were answered", amount))
    if outcome.story is not None:
        right = sum(check.right for check in outcome.story.checks)
        checks.append((outcome.story.ok, "one subscriber's story", f"{right} of {len(outcome.story.checks)} checks"))
    return checks


def _services(outcome: RunOutcome) -> list[tuple[str, str, int, str]]:
    """(service, use, requests, charged) by service."""
    charged = outcome.audit.charged_by_service if outcome.audit else {}
    summary = outcome.summary
    return [
        (name, human_units(name, summary.used.get(name, 0)), count, eur(charged.get(name, 0)))
        for name, count in summary.requests_by_service.items()
    ]
