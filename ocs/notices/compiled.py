"""The notices of a catalogue version, compiled: which an event has, and how they read (HOT-NOT-1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import time

from ocs.catalogue.catalogue import Catalogue
from ocs.catalogue.model import NoticeTable
from ocs.notices.events import EVENTS
from ocs.notices.fields import Recipient, Record, values_of
from ocs.notices.templates import Templates, TextError, Values
from ocs.notices.words import Words
from ocs.values.language import LANGUAGES
from ocs.values.sms_text import plain


@dataclass(frozen=True, slots=True)
class Notice:
    name: str
    event: str
    priority: int
    """1 to 9: of those that wait, the lowest is sent first."""
    quiet: bool
    """It waits for the end of the quiet hours."""
    expires_s: int
    """Seconds after the event from which it is not sent."""
    condition: Callable[[Values], bool]
    texts: Mapping[str, Callable[[Values], str]]
    """By language."""


@dataclass(frozen=True, slots=True)
class Told:
    """A notice for one event, in words."""

    notice: Notice
    language: str
    text: str


class Notices:
    """Of one version of the catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        """TextError names the first notice that cannot be used."""
        general, common = catalogue.tables.general, catalogue.tables.notices
        assert general is not None
        self._catalogue, self.common = catalogue, common
        self.templates = {
            language: Templates(Words(language, catalogue.time_zone, general.kilo)) for language in LANGUAGES
        }
        self._by_event: dict[str, list[Notice]] = {}
        self.by_name: dict[str, Notice] = {}
        for name, table in catalogue.tables.of("notice", NoticeTable).items():
            notice = self.by_name[name] = self._compiled(name, table)
            self._by_event.setdefault(notice.event, []).append(notice)
        self.quiet_from, self.quiet_until = time_of(common.quiet_from), time_of(common.quiet_until)

    def _compiled(self, name: str, table: NoticeTable) -> Notice:
        if table.event not in EVENTS:
            raise TextError(f'notice.{name}.event: there is no event "{table.event}"')
        sources = {"sl": table.sl, "en": table.en}
        return Notice(
            name=name,
            event=table.event,
            priority=table.priority,
            quiet=table.quiet,
            expires_s=3600 * (table.expires_h or self.common.expires_h),
            condition=self.templates[LANGUAGES[0]].condition(table.when),
            texts={language: self.templates[language].text(source) for language, source in sources.items()},
        )

    @property
    def events(self) -> frozenset[str]:
        """Kinds of events that notices are about."""
        return frozenset(self._by_event)

    def told(self, record: Record, recipient: Recipient) -> Iterator[Told]:
        """The notices of an event, in the language of the account. TextError: a text does not fit the event."""
        notices = self._by_event.get(str(record["kind"]), ())
        if not notices:
            return
        language = recipient.language if recipient.language in LANGUAGES else self.common.language
        values = values_of(record, self._catalogue, recipient)
        for notice in notices:
            if notice.condition(values):
                yield Told(notice, language, self.worded(notice, language, values))

    def worded(self, notice: Notice, language: str, values: Values) -> str:
        text = notice.texts[language](values)
        return plain(text) if self.common.plain else text


def time_of(text: str) -> time:
    """ "24:00" is the beginning of a day, as "00:00" is."""
    return time() if text == "24:00" else time.fromisoformat(text)
