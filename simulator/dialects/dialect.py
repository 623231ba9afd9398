"""A dialect file: AVPs in their order, and habits. It is read and checked as a whole.

An AVP is [name, value] or [name, value, "when"]. The name is that of python-diameter's dictionary. The value is a
number, a text, a list of AVPs, or a text with {fields} (`fields.FIELDS`); a text "hex:0600" is octets. An AVP whose
field has no value is left out. "when" has words, all of which must hold: letters of CC-Request-Types ("I", "IU"), a
condition of the service or the request (CONDITIONS), "+M" or "-M": with or without the M flag.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from diameter.message.avp.avp import Avp, AvpGrouped
from diameter.message.avp.dictionary import AVP_DICTIONARY, AVP_VENDOR_DICTIONARY

from simulator.dialects.fields import FIELD, FIELDS, SERVICES
from simulator.errors import SimulatorError
from simulator.requests import Element

SHIPPED = files("simulator") / "dialects"
VENDOR_3GPP = 10415
KEYS = frozenset(
    (
        "source",
        "element",
        "units",
        "avps",
        "service",
        "rar",
        "asr",
        "asks",
        "rating_group",
        "service_identifier",
        "quirks",
        "reasons",
    )
)
UNITS = {"octets": "CC-Total-Octets", "seconds": "CC-Time", "messages": "CC-Service-Specific-Units"}
CONDITIONS = (
    *("used", "wanted", "amount", "rated", "unit_reason", "service_reason", "changed", "triggered"),
    *("outgoing", "incoming", "forwarded"),
)
"""used: the service reports use; wanted: it asks for units, amount: a stated number of them; rated: it has a rating
group; unit_reason: its Reporting-Reason belongs to Used-Service-Unit, service_reason: to the MSCC (TS 32.299
§7.2.175); changed: some of the use is after a tariff change; triggered: Trigger-Types made it report; outgoing,
incoming: the call's direction; forwarded: the subscriber forwards it.
"""
M_FLAG = {"+M": True, "-M": False}
REASONS = {"threshold": 0, "qht": 1, "final": 2, "exhausted": 3, "validity": 4, "other_quota": 5}
REASONS |= {"rating_change": 6, "forced": 7}
"""Reporting-Reason (TS 32.299 §7.2.175)."""
_KINDS = re.compile(r"[IUTE]{1,4}")


class DialectError(SimulatorError):
    """A dialect file cannot be used; the message names file and key."""


@dataclass(frozen=True, slots=True)
class AvpSpec:
    """One AVP as the file states it."""

    code: int
    vendor: int
    value: int | str | tuple[AvpSpec, ...]
    kinds: str
    """Letters of the CC-Request-Types in which it is sent."""
    conditions: tuple[str, ...]
    mandatory: bool | None
    """None = as in the dictionary."""
    kind: type[Avp]
    """python-diameter's type."""

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(FIELD.findall(self.value)) if isinstance(self.value, str) else ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What a client does after a RAR or ASR."""

    result_code: int
    """Of its answer; 0 = it does not answer."""
    acts: bool
    """A RAR is followed by an update, an ASR by a termination."""


@dataclass(frozen=True, slots=True)
class Dialect:
    name: str
    source: str
    """Capture or manual from which it is known, or "illustrative"."""
    element: Element
    """What it is."""
    units: str
    """"octets", "seconds" or "messages"."""
    avps: tuple[AvpSpec, ...]
    service: tuple[AvpSpec, ...]
    """Contents of each Multiple-Services-Credit-Control."""
    rar: Reply
    asr: Reply
    asks: int
    """Units that it always requests; 0 = it leaves the amount to the server."""
    rating_group: int | None
    """Rating-Group of a use that has none in the scenario."""
    service_identifier: int | None
    """Service-Identifier of each service."""
    repeats_last_number: bool
    """Its termination has the CC-Request-Number of the request before."""
    reasons: Mapping[int, int]
    """Reporting-Reasons that it reports as others."""

    @property
    def tells_tariff_changes(self) -> bool:
        """Whether use before and after a tariff change is reported apart."""
        return any(_has(spec, "used_after") for spec in self.service)


def _has(spec: AvpSpec, field: str) -> bool:
    children = spec.value if isinstance(spec.value, tuple) else ()
    return field in spec.fields or any(_has(child, field) for child in children)


@lru_cache(maxsize=64)
def load_dialect(name: str) -> Dialect:
    """A shipped dialect by its name, or one from a file. Raises DialectError."""
    path = Path(name)
    shipped = SHIPPED / f"{name}.toml"
    source = path if path.suffix == ".toml" and path.exists() else shipped if shipped.is_file() else None
    if source is None:
        known = ", ".join(sorted(each.name.removesuffix(".toml") for each in SHIPPED.iterdir() if ".toml" in each.name))
        raise DialectError(f"there is no dialect {name!r}; it must be a file, or one of {known}")
    try:
        return _dialect(name, tomllib.loads(source.read_text("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, DialectError) as error:
        raise DialectError(f"dialect {name}: {error}") from error


def _dialect(name: str, table: Mapping[str, object]) -> Dialect:
    unknown = set(table) - KEYS
    if unknown:
        raise DialectError(f"unknown key {', '.join(sorted(unknown))}")
    quirks = table.get("quirks", [])
    if not isinstance(quirks, list) or set(quirks) - {"termination_repeats_number"}:
        raise DialectError('quirks must be a list of "termination_repeats_number"')
    return Dialect(
        name=name,
        source=_one_of(table, "source", None),
        element=Element(_one_of(table, "element", tuple(Element))),
        units=_one_of(table, "units", tuple(UNITS)),
        avps=tuple(_avps(table.get("avps"), "avps")),
        service=tuple(_avps(table.get("service"), "service")),
        rar=_reply(table, "rar", "update"),
        asr=_reply(table, "asr", "termination"),
        asks=_whole(table, "asks"),
        rating_group=_whole(table, "rating_group") or None,
        service_identifier=_whole(table, "service_identifier") or None,
        repeats_last_number="termination_repeats_number" in quirks,
        reasons=_reasons(table.get("reasons", {})),
    )


def _reply(table: Mapping[str, object], name: str, then: str) -> Reply:
    row = table.get(name)
    if not isinstance(row, dict) or not set(row) <= {"answer", "then"}:
        raise DialectError(f"{name} must be a table with answer and then")
    if row.get("then", "nothing") not in (then, "nothing"):
        raise DialectError(f'{name}.then is {row.get("then")!r}; it must be "{then}" or "nothing"')
    return Reply(_whole(row, "answer"), row.get("then") == then)


def _reasons(table: object) -> Mapping[int, int]:
    if not isinstance(table, dict) or set(table) - set(REASONS) or set(table.values()) - set(REASONS):
        raise DialectError(f"reasons must be a table of {', '.join(REASONS)}")
    return {REASONS[key]: REASONS[value] for key, value in table.items()}


def _avps(rows: object, where: str) -> Iterator[AvpSpec]:
    if not isinstance(rows, list):
        raise DialectError(f"{where} must be a list of AVPs")
    for index, row in enumerate(rows):
        yield _avp(row, f"{where}[{index}]")


def _avp(row: object, where: str) -> AvpSpec:
    if not isinstance(row, list) or len(row) not in (2, 3) or not isinstance(row[0], str):
        raise DialectError(f'{where} must be [name, value] or [name, value, "when"]')
    name, value = row[0], row[1]
    where = f"{where} {name}"
    code, vendor, kind = _known(name, where)
    kinds, conditions, mandatory = _when(row[2] if len(row) == 3 else "", where)
    if isinstance(value, list):
        if not issubclass(kind, AvpGrouped):
            raise DialectError(f"{where} is no group")
        return AvpSpec(code, vendor, tuple(_avps(value, where)), kinds, conditions, mandatory, kind)
    if not isinstance(value, int | str):
        raise DialectError(f"{where} must be a number, a text or a list")
    for found in FIELD.findall(str(value)):
        if found not in FIELDS:
            raise DialectError(f"{where}: unknown field {{{found}}}; fields are {', '.join(FIELDS)}")
    if issubclass(kind, AvpGrouped) and value != SERVICES:
        raise DialectError(f"{where} is a group: its value must be a list")
    return AvpSpec(code, vendor, value, kinds, conditions, mandatory, kind)


def _when(text: object, where: str) -> tuple[str, tuple[str, ...], bool | None]:
    kinds, mandatory = "IUTE", None
    conditions: list[str] = []
    for word in str(text).split():
        if _KINDS.fullmatch(word):
            kinds = word
        elif word in CONDITIONS:
            conditions.append(word)
        elif word in M_FLAG:
            mandatory = M_FLAG[word]
        else:
            raise DialectError(f"{where}: {word!r} must be letters of IUTE, or of {', '.join((*CONDITIONS, *M_FLAG))}")
    return kinds, tuple(conditions), mandatory


@lru_cache(maxsize=1)
def _names() -> Mapping[str, tuple[int, int, type[Avp]]]:
    """AVPs by name; the IETF's before 3GPP's, other vendors' are not used."""
    found: dict[str, tuple[int, int, type[Avp]]] = {}
    for vendor, table in ((VENDOR_3GPP, AVP_VENDOR_DICTIONARY[VENDOR_3GPP]), (0, AVP_DICTIONARY)):
        for code, entry in table.items():
            found[str(entry["name"])] = code, vendor, entry["type"]
    return found


def _known(name: str, where: str) -> tuple[int, int, type[Avp]]:
    known = _names().get(name)
    if known is None:
        raise DialectError(f"{where}: no AVP of the IETF or 3GPP has this name")
    return known


def _one_of(table: Mapping[str, object], name: str, allowed: tuple[str, ...] | None) -> str:
    value = table.get(name)
    if not isinstance(value, str) or not value or (allowed and value not in allowed):
        is_ = "missing" if value is None else repr(value)
        raise DialectError(f"{name} is {is_}; it must be {' or '.join(allowed) if allowed else 'a text'}")
    return value


def _whole(table: Mapping[str, object], name: str) -> int:
    value = table.get(name, 0)
    if not isinstance(value, int) or value < 0:
        raise DialectError(f"{name} is {value!r}; it must be a whole number")
    return value
