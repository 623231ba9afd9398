"""Checks the notices of a catalogue: every template can be used, every name is a field of its event, every condition
can be true, every text fits (HOT-NOT-1).

Each text is made with samples of its fields. The check is not part of loading: charging does not load Jinja2 and Babel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import islice, product

from ocs.catalogue.catalogue import Catalogue
from ocs.catalogue.model import NoticeTable
from ocs.catalogue.problems import CatalogueError, Problem, Problems, key_path
from ocs.notices.compiled import time_of
from ocs.notices.events import EVENTS, Field, Kind, fields_of
from ocs.notices.roaming_prices import SAMPLES
from ocs.notices.templates import Templates, TextError
from ocs.notices.words import Words
from ocs.policy.keyword_texts import check_answer
from ocs.values.language import LANGUAGES
from ocs.values.products import MONTHLY_LIMIT
from ocs.values.sms_text import SmsSize, plain, sms_size

MOST_SEGMENTS = 4
"""A longer text is a mistake."""
LONG_SEGMENTS = 2
"""A text of more segments is told."""
MOST_SAMPLES = 20_000
"""Combinations of values by which a condition is tried."""
NUMBERS = (1, 2, 3, 5, 100)
"""One of each plural form."""
AMOUNTS = (48_000_000, 1, 120, 180, 5 * 60, 12_345_678, 9 * 1024**3)
TIMES = (1_795_000_000,)


@dataclass(frozen=True, slots=True)
class Length:
    """Longest text of a notice in one language."""

    notice: str
    language: str
    size: SmsSize


def checked(versions: Iterable[tuple[str, Catalogue]]) -> list[Length]:
    """Lengths of all texts of (file, version). CatalogueError lists every mistake."""
    lengths, problems = list[Length](), list[Problem]()
    for file, catalogue in versions:
        found = Problems(file)
        lengths += check_notices(catalogue, found)
        problems += found.found
    if problems:
        raise CatalogueError(problems)
    return lengths


def check_notices(catalogue: Catalogue, problems: Problems) -> list[Length]:
    """The mistakes go into `problems`."""
    check = _Check(catalogue, problems)
    check.quiet_hours()
    check.answers()
    return [
        each for name, table in catalogue.tables.of("notice", NoticeTable).items() for each in check.of(name, table)
    ]


def examples(catalogue: Catalogue, name: str) -> Iterator[dict[str, object]]:
    """Values of events that a notice is about; none if it has mistakes. KeyError: there is no such notice."""
    table = catalogue.tables.of("notice", NoticeTable)[name]
    check = _Check(catalogue, Problems(""))
    yield from map(dict, check.samples(name, table))


class _Check:
    def __init__(self, catalogue: Catalogue, problems: Problems) -> None:
        general = catalogue.tables.general
        assert general is not None
        self._catalogue, self._problems, self._common = catalogue, problems, catalogue.tables.notices
        self._templates = {
            language: Templates(Words(language, catalogue.time_zone, general.kilo)) for language in LANGUAGES
        }
        self._lists = _lists(catalogue)

    def quiet_hours(self) -> None:
        """A notice of the evening is sent in the morning."""
        begin, end = time_of(self._common.quiet_from), time_of(self._common.quiet_until)
        hours = ((end.hour * 60 + end.minute) - (begin.hour * 60 + begin.minute)) % (24 * 60) / 60
        notices = self._catalogue.tables.of("notice", NoticeTable)
        told = {key_path("notice", name, "expires_h"): each.expires_h for name, each in notices.items() if each.quiet}
        for key, expires_h in {key_path("notices", "expires_h"): self._common.expires_h, **told}.items():
            if expires_h is not None and expires_h <= hours:
                self._problems.add(key, f"must be more than the {hours:g} quiet hours", expires_h)

    def answers(self) -> None:
        """Answers to keywords that the operator words itself."""
        for key, texts in self._catalogue.answers.items():
            for language, text in texts.items():
                if wrong := check_answer(key, text):
                    self._problems.add(key_path("answer", key, language), wrong, text)

    def of(self, name: str, table: NoticeTable) -> Iterator[Length]:
        if table.event not in EVENTS:
            known = ", ".join(sorted(EVENTS))
            self._problems.add(
                key_path("notice", name, "event"), f"there is no such event; there are {known}", table.event
            )
            return
        fields, samples = fields_of(table.event), self.samples(name, table)
        for language, source in (("sl", table.sl), ("en", table.en)):
            names = self._names(name, language, source, fields, language)
            if names is not None and samples:
                yield from self._length(name, language, source, samples)

    def _names(self, name: str, key: str, source: str, fields: Mapping[str, Field], language: str) -> set[str] | None:
        """Fields that the text names; None = it has mistakes."""
        try:
            names = self._templates[language].names(source, is_condition=key == "when")
        except TextError as error:
            self._problems.add(key_path("notice", name, key), str(error), source)
            return None
        unknown = sorted(names - fields.keys())
        if unknown:
            allowed = f"{', '.join(unknown)}: the event has no such field; it has {', '.join(sorted(fields))}"
            self._problems.add(key_path("notice", name, key), allowed, source)
            return None
        return names

    def samples(self, name: str, table: NoticeTable) -> Sequence[Mapping[str, object]]:
        """Values for which the condition is true: each combination of the fields in it, the others in turn. Empty:
        there are mistakes.
        """
        fields = fields_of(table.event)
        used = self._names(name, "when", table.when, fields, LANGUAGES[0]) if table.when else set[str]()
        if used is None:
            return ()
        key = key_path("notice", name, "when")
        rest = {each: self._choices(each, field) for each, field in fields.items() if each not in used}
        turns = max((len(each) for each in rest.values()), default=1)
        try:
            holds = self._templates[LANGUAGES[0]].condition(table.when)
            names = sorted(used)
            combined = islice(product(*(self._choices(each, fields[each]) for each in names)), MOST_SAMPLES)
            found = []
            for values in combined:
                chosen = dict(zip(names, values, strict=True))
                for turn in range(turns):
                    sample = {**chosen, **{each: some[turn % len(some)] for each, some in rest.items()}}
                    if not holds(sample):
                        break
                    found.append(sample)
        except TextError as error:
            self._problems.add(key, str(error), table.when)
            return ()
        if not found:
            self._problems.add(key, "is true for no event that the catalogue has", table.when)
        return found

    def _choices(self, name: str, field: Field) -> Sequence[object]:
        if field.choices:
            return field.choices
        if field.source:
            return self._lists[field.source]
        if field.kind is Kind.PRICE:
            return SAMPLES[name]
        return {
            Kind.MONEY: (5_000_000, 123_450_000, 0),
            Kind.AMOUNT: AMOUNTS,
            Kind.NUMBER: NUMBERS,
            Kind.TIME: TIMES,
            Kind.DATE: (date(2026, 12, 31),),
            Kind.FLAG: (True, False),
            Kind.TEXT: ("38668100000",) if name == "msisdn" else ("EXTRA DATA 5 GB",),
        }[field.kind]

    def _length(
        self, name: str, language: str, source: str, samples: Sequence[Mapping[str, object]]
    ) -> Iterator[Length]:
        key = key_path("notice", name, language)
        longest = SmsSize("GSM-7", 0, 0)
        try:
            render = self._templates[language].text(source)
            for values in samples:
                text = render(values)
                size = sms_size(plain(text) if self._common.plain else text)
                longest = max(longest, size, key=lambda each: (each.segments, each.units))
        except TextError as error:
            self._problems.add(key, str(error), source)
            return
        if longest.segments > MOST_SEGMENTS:
            allowed = (
                f"is up to {longest.segments} SMS long ({longest.units} {longest.encoding}), at most {MOST_SEGMENTS}"
            )
            self._problems.add(key, allowed, source)
        yield Length(name, language, longest)


def _lists(catalogue: Catalogue) -> dict[str, Sequence[object]]:
    """Values that a field takes from the catalogue."""
    buckets = [each for product in catalogue.products.values() for each in product.terms.buckets]
    percents = {*MONTHLY_LIMIT.thresholds, *(each for bucket in buckets for each in bucket.thresholds)}
    percents |= {each for counter in catalogue.counters.values() for each in counter.thresholds}
    return {
        "packages": sorted(catalogue.products),
        "counters": sorted({MONTHLY_LIMIT.id, *catalogue.counters}),
        "buckets": sorted(each.id for each in buckets if each.thresholds) or sorted(each.id for each in buckets),
        "places": sorted(catalogue.places),
        "percents": sorted(percents),
    }
