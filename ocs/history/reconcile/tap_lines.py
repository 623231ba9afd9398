"""Reads a TAP 3.12 file (GSMA TD.57, BER) by the package pycrate: one call event after the other, from mapped memory.

Calls and sessions are voice in seconds, teleservices 21 and 22 are SMS, GPRS calls are data: octets in and out. Amounts
are those of charge type 00 (total). Other events are told as lines that cannot be read.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ocs.history.reconcile.line import BadLine, Line, WholesaleFileError
from ocs.values.money import MICRO

_TRANSFER_BATCH, _CALL_EVENTS, _ACCOUNTING, _NETWORK = 1, 3, 5, 6
"""APPLICATION tags of TD.57."""
_SMS_TELESERVICES = ("21", "22")
_TOTAL = "00"
_CURRENCY = "EUR"
MAX_DEPTH = 64


@dataclass(slots=True)
class _Batch:
    """What call events refer to."""

    offsets: dict[int, str] = field(default_factory=dict)
    """UTC offset code → "+0100"."""
    decimals: int = 0
    rates: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Exchange rate code → (numerator, denominator) into EUR."""
    is_local: bool = True
    """Charges are in EUR."""


def tap_lines(path: Path, advanced: Callable[[int], None] = lambda octets: None) -> Iterator[Line | BadLine]:
    """WholesaleFileError: the file is no TAP 3.12, or pycrate is not installed."""
    grammar = _grammar()
    if not path.stat().st_size:
        raise WholesaleFileError(f"{path}: is no TAP file: it is empty")
    with path.open("rb") as file, closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as octets:
        try:
            yield from _events(octets, grammar, path, advanced)
        except (IndexError, _NoBerError) as error:
            raise WholesaleFileError(f"{path}: is no TAP file: {error}") from None


def _grammar() -> Any:
    try:
        from pycrate_asn1dir import TAP3
    except ImportError:
        raise WholesaleFileError(
            "TAP files need the package pycrate, which is not installed: pip install 'ocs[tap]'"
        ) from None
    return TAP3.TAP_0312


def _events(octets: mmap.mmap, grammar: Any, path: Path, advanced: Callable[[int], None]) -> Iterator[Line | BadLine]:
    batch, number = _Batch(), 0
    outer = _tlv(octets, 0)
    if outer.number != _TRANSFER_BATCH:
        raise _NoBerError("it does not begin with a Transfer Batch")
    for part in _children(octets, outer):
        if part.number == _ACCOUNTING:
            _take_accounting(_decoded(grammar.AccountingInfo, octets, part), batch, path)
        elif part.number == _NETWORK:
            _take_network(_decoded(grammar.NetworkInfo, octets, part), batch)
        elif part.number == _CALL_EVENTS:
            for event in _children(octets, part):
                number += 1
                yield _event(grammar, octets, event, number, batch)
                advanced(event.end - event.start)


def _decoded(type_: Any, octets: mmap.mmap, part: _Tlv) -> Any:
    try:
        type_.from_ber(octets[part.start : part.end])
    except Exception as error:  # noqa: BLE001 - the library raises what it likes at octets that it cannot read
        raise _NoBerError(f"{type(error).__name__} at octet {part.start}") from None
    return type_.get_val()


def _take_accounting(info: dict[str, Any], batch: _Batch, path: Path) -> None:
    local = info.get("localCurrency", b"").decode("ascii", "replace")
    tap = info.get("tapCurrency", b"").decode("ascii", "replace") or local
    batch.decimals, batch.is_local = info.get("tapDecimalPlaces", 0), tap == _CURRENCY
    if _CURRENCY not in (local, tap):
        raise WholesaleFileError(f"{path}: its currencies are {local} and {tap}: only EUR can be compared")
    for each in info.get("currencyConversionInfo", ()):
        batch.rates[each["exchangeRateCode"]] = each["exchangeRate"], int(10 ** each["numberOfDecimalPlaces"])


def _take_network(info: dict[str, Any], batch: _Batch) -> None:
    for each in info.get("utcTimeOffsetInfo", ()):
        batch.offsets[each["utcTimeOffsetCode"]] = each["utcTimeOffset"].decode("ascii", "replace")


def _event(grammar: Any, octets: mmap.mmap, part: _Tlv, number: int, batch: _Batch) -> Line | BadLine:
    try:
        name, event = _decoded(grammar.CallEventDetail, octets, part)
        read = _READ.get(name)
        return BadLine(number, f"events {name} are not compared") if read is None else read(event, number, batch)
    except (KeyError, ValueError, _NoBerError) as error:
        return BadLine(number, f"cannot be read: {error}")


def _gprs(event: dict[str, Any], number: int, batch: _Batch) -> Line:
    basic, used = event["gprsBasicCallInformation"], event.get("gprsServiceUsed", {})
    subscriber = basic["gprsChargeableSubscriber"]["chargeableSubscriber"]
    units = used.get("dataVolumeIncoming", 0) + used.get("dataVolumeOutgoing", 0)
    charges = used.get("chargeInformationList", ())
    charging = str(basic.get("chargingId", ""))
    return _line(number, "data", subscriber, basic, units, charges, batch, charging)


def _call(event: dict[str, Any], number: int, batch: _Batch) -> Line:
    basic, services = event["basicCallInformation"], event.get("basicServiceUsedList", ())
    codes = [each["basicService"]["serviceCode"] for each in services]
    is_sms = bool(codes) and all(kind == "teleServiceCode" and _text(code) in _SMS_TELESERVICES for kind, code in codes)
    charges = [charge for each in services for charge in each.get("chargeInformationList", ())]
    units = 1 if is_sms else basic.get("totalCallEventDuration", 0)
    service = "sms" if is_sms else "voice"
    return _line(number, service, basic["chargeableSubscriber"], basic, units, charges, batch)


_READ: dict[str, Callable[[dict[str, Any], int, _Batch], Line]] = {
    "gprsCall": _gprs,
    "mobileOriginatedCall": _call,
    "mobileTerminatedCall": _call,
}


def _line(
    number: int,
    service: str,
    subscriber: tuple[str, dict[str, bytes]],
    basic: dict[str, Any],
    units: int,
    charges: Any,
    batch: _Batch,
    charging: str = "",
) -> Line:
    ids = subscriber[1]
    imsi, msisdn = _bcd(ids.get("imsi", b"")), _bcd(ids.get("msisdn", b""))
    if not imsi and not msisdn:
        raise ValueError("it names no subscriber")
    start = _unix_s(basic["callEventStartTimeStamp"], batch)
    end = start + basic.get("totalCallEventDuration", 0)
    amount = sum(_micro_eur(each, batch) for each in charges)
    return Line(number, msisdn, imsi, service, start, end, units, amount, charging=charging)


def _unix_s(stamp: dict[str, Any], batch: _Batch) -> int:
    text = stamp["localTimeStamp"].decode("ascii") + batch.offsets[stamp["utcTimeOffsetCode"]]
    return int(datetime.strptime(text, "%Y%m%d%H%M%S%z").timestamp())


def _micro_eur(information: dict[str, Any], batch: _Batch) -> int:
    charge: int = sum(
        each.get("charge", 0) for each in information["chargeDetailList"] if _text(each["chargeType"]) == _TOTAL
    )
    numerator, denominator = (1, 1) if batch.is_local else batch.rates[information["exchangeRateCode"]]
    return charge * MICRO * numerator // int(10**batch.decimals * denominator)


def _text(octets: bytes) -> str:
    return octets.decode("ascii", "replace")


def _bcd(octets: bytes) -> str:
    return octets.hex().rstrip("f")


# -- BER (X.690 §8.1): only as much as leads to the call events


class _NoBerError(Exception):
    pass


@dataclass(frozen=True, slots=True)
class _Tlv:
    number: int
    """Of the tag."""
    start: int
    content: int
    content_end: int
    end: int


def _tlv(octets: mmap.mmap, start: int, depth: int = 0) -> _Tlv:
    if depth > MAX_DEPTH:
        raise _NoBerError("it is nested too deeply")
    at, number = start + 1, octets[start] & 0x1F
    if number == 0x1F:
        number = 0
        while True:
            number, more = number << 7 | octets[at] & 0x7F, octets[at] & 0x80
            at += 1
            if not more:
                break
    length = octets[at]
    at += 1
    if length == 0x80:
        inner = at
        while octets[inner : inner + 2] != b"\0\0":
            inner = _tlv(octets, inner, depth + 1).end
        return _Tlv(number, start, at, inner, inner + 2)
    if length & 0x80:
        digits = length & 0x7F
        length = int.from_bytes(octets[at : at + digits], "big")
        at += digits
    if at + length > len(octets):
        raise _NoBerError(f"it ends within the element at octet {start}")
    return _Tlv(number, start, at, at + length, at + length)


def _children(octets: mmap.mmap, part: _Tlv) -> Iterator[_Tlv]:
    at = part.content
    while at < part.content_end:
        child = _tlv(octets, at)
        yield child
        at = child.end
