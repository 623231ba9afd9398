"""`ocs trace`: a subscriber's requests as they come."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import orjson
import typer

from ocs.accounts import inputs
from ocs.accounts.backend import Backend
from ocs.cli.common import (
    DEFAULT,
    ConfigOption,
    FailedError,
    WrongCallError,
    counted,
    load_all,
    user,
    with_backend,
)
from ocs.cli.ladder import Ladder
from ocs.cli.masked_rungs import masked_rung
from ocs.compose import Paths
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.contract.notices import Notice
from ocs.ledger.contract.traces import MAX_TRACE_S, MAX_TRACED, Traced
from ocs.ledger.redis.installation import OpenMode
from ocs.outbox.disclosures import note_disclosure
from ocs.values.actor import ACTOR
from ocs.values.identities import Msisdn
from ocs.values.masking import masked_party
from ocs.values.rung import Rung

_UNITS_S = {"s": 1, "m": 60, "h": 3_600}
_COMMANDS = {"reauthorize": "RAR", "abort": "ASR"}


def trace_command(
    msisdn: Annotated[str, typer.Argument(help="The subscriber's number.")],
    duration: Annotated[str, typer.Option("--for", help="How long: 90s, 10m or 2h; at most 24h.")] = "10m",
    clear: Annotated[bool, typer.Option("--clear", help="Numbers with their last digits; needs --reason.")] = False,
    reason: Annotated[str, typer.Option(help="Why; of --clear it stands in disclosures.jsonl.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print a JSON line for each request, for programs.")] = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Show a subscriber's requests live, until the time is over or Ctrl-C."""
    seconds = duration_s(duration)
    if clear and not reason.strip():
        raise WrongCallError("--clear needs --reason: whole numbers are for a reason that is kept")
    number = inputs.msisdn(msisdn)
    loaded = load_all(config)
    disclosures = Paths(loaded[0].data_dir).disclosures

    async def watch(backend: Backend) -> None:
        token = ACTOR.set(user())
        try:
            await Watching(backend, number, seconds, reason.strip(), clear=clear, json=json).run(disclosures)
        finally:
            ACTOR.reset(token)

    with_backend(config, OpenMode.READ, watch, loaded=loaded)


def duration_s(text: str) -> int:
    """Seconds of "90s", "10m", "2h". WrongCallError."""
    found = re.fullmatch(r"([0-9]{1,6})([smh])", text.strip())
    seconds = int(found[1]) * _UNITS_S[found[2]] if found else 0
    if not 1 <= seconds <= MAX_TRACE_S:
        raise WrongCallError(f"--for {text!r} must be from 1s to {MAX_TRACE_S // 3_600}h, such as 90s, 10m or 2h")
    return seconds


class Watching:
    """One trace. What it shows goes to standard output, what is said about it to standard error."""

    def __init__(self, backend: Backend, msisdn: Msisdn, seconds: int, reason: str, *, clear: bool, json: bool) -> None:
        self._backend = backend
        self._msisdn = msisdn
        self._seconds = seconds
        self._reason = reason
        self._clear = clear
        self._json = json
        self._zone = backend.catalogue.time_zone
        self._ladder = Ladder(self._zone)
        self._numbers: tuple[str, ...] = ()
        self._shown = 0
        self._ended = asyncio.Event()

    async def run(self, disclosures: Path) -> None:
        """AccountError: there is no such account. FailedError: too many traces are under way."""
        ledger, now = self._backend.ledger, self._backend.environment.now()
        view = (await self._backend.accounts.read(self._msisdn)).view
        self._numbers = view.msisdn, view.imsi
        traced = Traced(
            f"{self._backend.environment.entropy():016x}",
            view.account_id, view.msisdn, view.imsi, now + self._seconds, ACTOR.get(),
        )  # fmt: skip
        if self._clear:
            what = {"trace": view.account_id, "for_s": self._seconds}
            note_disclosure(disclosures, who=ACTOR.get(), why=self._reason, at=now, what=what)
        event = {"until": traced.until, "clear": int(self._clear), "reason": self._reason}
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._ended.set)
        subscribed = asyncio.Event()
        showing = loop.create_task(self._show(traced.account_id, subscribed))
        try:
            await asyncio.wait_for(subscribed.wait(), 5)
            if not await ledger.begin_trace(traced, now=now):
                raise FailedError(f"{MAX_TRACED} traces are under way, which is the most: wait, or end one")
            await ledger.note_event("traced", traced.account_id, now=now, event=event)
            self._say_begun(traced, await ledger.announce_traces())
            async with asyncio.timeout(self._seconds):
                await self._ended.wait()
        except TimeoutError:
            if not subscribed.is_set():
                raise LedgerUnavailable("Redis takes no subscription") from None
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
            await self._end(traced.id)

    async def _end(self, trace_id: str) -> None:
        try:
            await self._backend.ledger.end_trace(trace_id)
            await self._backend.ledger.announce_traces()
        except LedgerUnavailable:
            _say("Redis does not answer: the trace ends by itself at its time")
        _say(
            counted(self._shown, "request") + ("" if self._json else f" in {counted(self._ladder.sessions, 'session')}")
        )

    def _say_begun(self, traced: Traced, hearers: int) -> None:
        until = datetime.fromtimestamp(traced.until, self._zone).strftime("%H:%M:%S %Z")
        whom = self._msisdn if self._clear else masked_party(self._msisdn)
        _say(f"{whom} is traced until {until}; Ctrl-C ends it")
        if not hearers:
            _say("no server listens: there is nothing to see until one runs")

    async def _show(self, account_id: str, subscribed: asyncio.Event) -> None:
        async for found in self._backend.ledger.rungs(account_id, subscribed.set, _say_lost):
            for rung in [found] if isinstance(found, Rung) else rungs_of(found):
                self._shown += 1
                shown = rung if self._clear else masked_rung(rung, self._numbers)
                if self._json:
                    sys.stdout.buffer.write(orjson.dumps(shown.as_json(), option=orjson.OPT_APPEND_NEWLINE))
                    sys.stdout.flush()
                else:
                    self._ladder.draw(shown)


def rungs_of(notice: Notice) -> list[Rung]:
    """A RAR or ASR that the ledger wants sent to clients of the account."""
    command = _COMMANDS.get(notice.kind)
    if command is None:
        return []
    return [
        Rung(
            notice.at, command, each.session_id, None, each.origin_host, each.relay, each.context, reason=notice.reason
        )
        for each in notice.sessions
    ]


def _say_lost(why: str) -> None:
    _say(f"the connection to Redis is lost, requests meanwhile are missing: {why}")


def _say(text: str) -> None:
    print(f"ocs: {text}", file=sys.stderr, flush=True)
