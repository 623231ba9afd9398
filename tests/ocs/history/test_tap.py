"""TAP 3.12 (GSMA TD.57): files that pycrate encodes are read, call event by call event."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pycrate_asn1dir import TAP3

from ocs.history.reconcile.line import BadLine, Line, WholesaleFileError
from ocs.history.reconcile.tap_lines import tap_lines

AT = 1_793_437_200
"""2026-10-31T09:00:00Z, 10:00 in Ljubljana."""
STAMP = {"localTimeStamp": b"20261031100000", "utcTimeOffsetCode": 0}
SUBSCRIBER = (
    "simChargeableSubscriber",
    {"imsi": bytes.fromhex("293400000000000f"), "msisdn": b"\x38\x66\x81\x00\x00\x0f"},
)


def charged(amount: int) -> list[dict[str, Any]]:
    """A total, and a part of it that must not be added."""
    details = [{"chargeType": b"00", "charge": amount}, {"chargeType": b"01", "charge": amount // 2}]
    return [{"chargedItem": b"X", "exchangeRateCode": 1, "chargeDetailList": details}]


def gprs(amount: int = 2_500) -> tuple[str, dict[str, Any]]:
    basic = {
        "gprsChargeableSubscriber": {"chargeableSubscriber": SUBSCRIBER}, "callEventStartTimeStamp": STAMP,
        "totalCallEventDuration": 600, "chargingId": 4711,
    }  # fmt: skip
    used = {"dataVolumeIncoming": 3_000_000, "dataVolumeOutgoing": 500, "chargeInformationList": charged(amount)}
    return "gprsCall", {"gprsBasicCallInformation": basic, "gprsServiceUsed": used}


def call(name: str, teleservice: bytes, duration: int) -> tuple[str, dict[str, Any]]:
    basic = {
        "chargeableSubscriber": SUBSCRIBER, "callEventStartTimeStamp": STAMP, "totalCallEventDuration": duration
    }  # fmt: skip
    service = {
        "basicService": {"serviceCode": ("teleServiceCode", teleservice)}, "chargeInformationList": charged(10)
    }  # fmt: skip
    return name, {"basicCallInformation": basic, "basicServiceUsedList": [service]}


def batch(events: list[Any], *, local: bytes = b"EUR", tap: bytes = b"", offset: bytes = b"+0100") -> bytes:
    accounting: dict[str, Any] = {"localCurrency": local, "tapDecimalPlaces": 3}
    if tap:
        rate = {"exchangeRateCode": 1, "numberOfDecimalPlaces": 2, "exchangeRate": 120}
        accounting.update(tapCurrency=tap, currencyConversionInfo=[rate])
    network = {"utcTimeOffsetInfo": [{"utcTimeOffsetCode": 0, "utcTimeOffset": offset}]}
    value = {
        "batchControlInfo": {"sender": b"SVNA1", "recipient": b"SVNHO", "releaseVersionNumber": 12},
        "accountingInfo": accounting, "networkInfo": network, "callEventDetails": events,
    }  # fmt: skip
    message = TAP3.TAP_0312.DataInterChange
    message.set_val(("transferBatch", value))
    octets: bytes = message.to_ber()
    return octets


def read(tmp_path: Path, octets: bytes) -> list[Line | BadLine]:
    (tmp_path / "CDSVNA1").write_bytes(octets)
    return list(tap_lines(tmp_path / "CDSVNA1"))


def test_data_calls_and_messages(tmp_path: Path) -> None:
    events = [gprs(), call("mobileOriginatedCall", b"11", 61), call("mobileTerminatedCall", b"21", 0)]
    data, voice, sms = read(tmp_path, batch(events))
    ids = ("38668100000", "293400000000000")
    assert data == Line(1, *ids, "data", AT, AT + 600, 3_000_500, 2_500_000, charging="4711")
    assert voice == Line(2, *ids, "voice", AT, AT + 61, 61, 10_000)
    assert sms == Line(3, *ids, "sms", AT, AT, 1, 10_000)


def test_another_currency_is_converted_and_foreign_ones_are_refused(tmp_path: Path) -> None:
    """2.500 SDR at 1.20 EUR are 3.00 EUR."""
    (data,) = read(tmp_path, batch([gprs()], tap=b"SDR"))
    assert isinstance(data, Line) and data.amount_micro_eur == 3_000_000
    with pytest.raises(WholesaleFileError, match="its currencies are HUF and SDR: only EUR can be compared"):
        read(tmp_path, batch([gprs()], local=b"HUF", tap=b"SDR"))


def test_what_is_not_compared_is_told(tmp_path: Path) -> None:
    other = "supplServiceEvent", {"chargeableSubscriber": SUBSCRIBER}
    nobody = gprs()
    nobody[1]["gprsBasicCallInformation"]["gprsChargeableSubscriber"]["chargeableSubscriber"] = (
        "simChargeableSubscriber", {}
    )  # fmt: skip
    first, second, third = read(tmp_path, batch([other, nobody, gprs()]))
    assert first == BadLine(1, "events supplServiceEvent are not compared")
    assert second == BadLine(2, "cannot be read: it names no subscriber")
    assert isinstance(third, Line)


@pytest.mark.parametrize(("cut", "said"), [(1, "it ends within"), (40, "it ends within")])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, cut: int, said: str) -> None:
    with pytest.raises(WholesaleFileError, match=f"is no TAP file: {said}"):
        read(tmp_path, batch([gprs(), gprs()])[:-cut])
    with pytest.raises(WholesaleFileError, match="does not begin with a Transfer Batch"):
        read(tmp_path, b"\x30\x03\x02\x01\x05")
    with pytest.raises(WholesaleFileError, match="it is empty"):
        read(tmp_path, b"")


def test_an_element_of_indefinite_length_is_read(tmp_path: Path) -> None:
    octets = batch([gprs()])
    head = 2 if octets[1] < 0x80 else 2 + (octets[1] & 0x7F)
    assert len(read(tmp_path, octets[:1] + b"\x80" + octets[head:] + b"\0\0")) == 1


def test_without_the_library_it_is_said_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pycrate_asn1dir", None)
    with pytest.raises(WholesaleFileError, match=r"pip install 'ocs\[tap\]'"):
        read(tmp_path, b"\x61\x00")
