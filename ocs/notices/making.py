"""Events → notices of the queue: which, in whose language, in which words, and from when they may be sent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import orjson

from ocs.catalogue.catalogue import Catalogue
from ocs.catalogue.model import MAX_NOTICE_H
from ocs.catalogue.versions import Catalogues
from ocs.history.rows import Loaded
from ocs.notices.compiled import Notices, Told
from ocs.notices.events import EVENTS
from ocs.notices.fields import Recipient, Record, unix_s
from ocs.notices.queue import NewNotice
from ocs.notices.quiet_hours import end_of_quiet
from ocs.notices.states import Reason
from ocs.notices.templates import TextError
from ocs.telemetry.throttled_log import ThrottledLog

log = logging.getLogger(__name__)

OLDEST_S = MAX_NOTICE_H * 3600
"""Events loaded so long after they happened, as into a new database, make no notices."""


def wanted(events: Sequence[Loaded], now: int) -> list[tuple[str, int, str]]:
    """Those of the events that notices may be about, as `queue.note` takes them."""
    return [
        (each.event_id, each.at, orjson.dumps(dict(each.record)).decode())
        for each in events
        if each.kind in EVENTS and each.at >= now - OLDEST_S
    ]


class Maker:
    """By the versions of the catalogue: each event by the one in force when it happened."""

    def __init__(self, catalogues: Catalogues, now: Callable[[], int], throttled_log: ThrottledLog) -> None:
        self._catalogues, self._now, self._throttled_log = catalogues, now, throttled_log
        self._versions: Sequence[Catalogue] = ()
        self._compiled: dict[str, Notices | None] = {}

    def made(self, event_id: str, record: Record, recipient: Recipient | None) -> list[NewNotice]:
        """The notices of one event. `recipient`: None = the account has ended."""
        catalogue = self._catalogues.at(unix_s(record["time"]))
        notices = self._of(catalogue)
        if notices is None:
            return []
        try:
            told = list(notices.told(record, recipient or Recipient("")))
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:  # TextError, or a record of another form
            if (more := self._throttled_log.allow(("text", record["kind"]))) is not None:
                log.error("no notice of an event %s is made: its text %s%s", record["kind"], error, more)
            return []
        return [self._notice(event_id, record, recipient, notices, each) for each in told]

    def _notice(
        self, event_id: str, record: Record, recipient: Recipient | None, notices: Notices, told: Told
    ) -> NewNotice:
        now, at, notice = self._now(), unix_s(record["time"]), told.notice
        expires_at, next_at = at + notice.expires_s, self._not_before(notices, now) if notice.quiet else now
        reason = ""
        if recipient is None:
            reason = Reason.NO_NUMBER.value
        elif record.get("muted") or notice.name in recipient.muted:
            reason = Reason.MUTED.value
        elif next_at >= expires_at:
            reason = Reason.EXPIRED.value
        return NewNotice(
            event_id=event_id,
            name=notice.name,
            account=str(record["account"]),
            msisdn=recipient.msisdn if recipient is not None else "",
            language=told.language,
            text=told.text,
            priority=notice.priority,
            quiet=notice.quiet,
            next_at=next_at,
            expires_at=expires_at,
            reason=reason,
        )

    def not_before(self, now: int) -> int:
        """End of the quiet hours, by the version in force; `now`, if there are none now."""
        notices = self._of(self._catalogues.in_force())
        return now if notices is None else self._not_before(notices, now)

    def _not_before(self, notices: Notices, now: int) -> int:
        return end_of_quiet(now, notices.quiet_from, notices.quiet_until, self._catalogues.time_zone)

    def _of(self, catalogue: Catalogue) -> Notices | None:
        """None: the version's texts have a mistake, which is logged."""
        self._look()
        if catalogue.version not in self._compiled:
            try:
                self._compiled[catalogue.version] = Notices(catalogue)
            except TextError as error:
                self._compiled[catalogue.version] = None
                log.error("version %s of the catalogue makes no notices: %s", catalogue.version, error)
        return self._compiled[catalogue.version]

    def _look(self) -> None:
        if self._versions is not self._catalogues.versions:
            self._versions = self._catalogues.versions
            self._compiled = {}
