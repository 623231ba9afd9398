"""Barred equipment (HOT-ACC-11): a request from a barred IMEI gets nothing but emergency calls."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from ocs.charging.equipment import EquipmentBar, imei_of
from ocs.charging.service import ChargingService
from ocs.compose import StartError
from ocs.process.barred_equipment import BarredEquipmentReader
from ocs.values.equipment import MAX_BARRED, BarredEquipmentError, imei_digits, read_barred_equipment
from protocol.units import UserEquipmentInfo, UserEquipmentInfoExtension
from tests.ocs.charging.ccr import IMS, MB, SMS, ccr, messages, octets, seconds, sms_to, towards
from tests.ocs.rules.world import EUR, World
from tests.rules import rule

IMEI, IMEISV = b"356938035643809", b"3569380356438099"
TBCD = bytes.fromhex("5396833065340899")  # digits in swapped halves of octets (TS 29.061): 3569380356438099
OTHER = b"490154203237518"
FRIEND = towards("tel:+38631234567")


def info(value: bytes) -> dict[str, Any]:
    return {"user_equipment_info": UserEquipmentInfo(0, value)}


@pytest.fixture
def bar(world: World, tmp_path: Path) -> EquipmentBar:
    file = tmp_path / "imei.txt"
    file.write_text("# stolen\n356938035643809\n")
    bar = EquipmentBar(read_barred_equipment(file))
    world.service = ChargingService(
        world.catalogue, world.ledger, world.metrics, lambda: world.now, world._spawn, equipment=bar
    )
    return bar


@rule("HOT-ACC-11", "HOT-RAT-2")
@pytest.mark.parametrize("value", [IMEI, IMEISV, TBCD])
async def test_all_but_emergency_is_refused(world: World, bar: EquipmentBar, value: bytes) -> None:
    user = await world.subscriber(20)
    assert (await user.running(IMS, FRIEND).take("I", seconds(want=60), **info(value))).result_code == 4010
    assert (await user.data().take("I", octets(want=MB), **info(value))).result_code == 4010
    sms = user.running(SMS, sms_to("38631234567"))
    assert (await sms.take("E", messages(want=1), **info(value))).result_code == 4010
    emergency = user.running(IMS, towards("tel:112"))
    assert (await emergency.take("I", seconds(want=60), **info(value))).result_code == 2001
    assert await user.credit() == 20 * EUR
    assert [each["imei"] for each in await user.events("equipment")] == ["35693803564380"], "told once"
    assert (await user.running(IMS, FRIEND).take("I", seconds(want=60), **info(OTHER))).result_code == 2001


@rule("HOT-ACC-11")
async def test_a_session_ends_when_its_equipment_is_barred_and_use_is_paid(world: World, bar: EquipmentBar) -> None:
    user = await world.subscriber(20)
    table, bar.table = bar.table, EquipmentBar().table
    call = user.running(IMS, FRIEND)
    assert (await call.take("I", seconds(want=60), **info(IMEI))).result_code == 2001
    bar.table = table
    world.now += 60
    assert (await call.take("U", seconds(want=60, used=60), **info(IMEI))).result_code == 4010
    assert await user.credit() < 20 * EUR


@rule("HOT-ACC-11", "HOT-ACC-2")
async def test_barred_equipment_activates_no_account(world: World, bar: EquipmentBar) -> None:
    user = await world.subscriber(20, unused=True)
    assert (await user.running(IMS, FRIEND).take("I", seconds(want=60), **info(IMEI))).result_code == 4010
    assert (await user.view()).state == "new"


@rule("HOT-ACC-11")
def test_imei_and_imeisv_are_one_equipment() -> None:
    for value in (IMEI, IMEISV, TBCD, b"35693803564380"):
        assert imei_digits(value) == "35693803564380"
    for value in (b"", b"3569380356438", b"35693803564380999", b"\xff" * 8, b"\xab" * 8):
        assert imei_digits(value) == ""
    by_extension = ccr("I", user_equipment_info_extension=UserEquipmentInfoExtension(user_equipment_info_imei=IMEI))
    assert imei_of(by_extension) == "35693803564380"
    assert imei_of(ccr("I", user_equipment_info=UserEquipmentInfo(1, IMEI))) == "", "type 1 is a MAC address"
    assert imei_of(ccr("I")) == ""


def test_a_file_with_mistakes_names_the_lines_and_no_imei(tmp_path: Path) -> None:
    file = tmp_path / "imei.txt"
    file.write_text("356938035643809\n35-693803-564380\n\n12345\n")
    with pytest.raises(BarredEquipmentError) as error:
        read_barred_equipment(file)
    assert [each.partition("line ")[2][:1] for each in error.value.mistakes] == ["2", "4"]
    assert "12345" not in str(error.value).replace("356938035643809", "")
    file.write_text("356938035643809,lost 2026\n35693803-564381-0\n")
    table = read_barred_equipment(file)
    assert len(table) == 2 and "35693803564381" in table and len(table) <= MAX_BARRED


async def test_a_changed_file_is_used_and_one_with_mistakes_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, bar = tmp_path / "imei.txt", EquipmentBar()
    reader = BarredEquipmentReader(file, bar, first=True)
    with pytest.raises(StartError, match=r"server\.barred_equipment cannot be used"):
        reader.start()
    file.write_text("356938035643809\n")
    reader.start()
    request = ccr("I", **info(IMEI))
    assert bar.barred_imei(request) == "35693803564380"
    for number, text in enumerate(("nonsense\n", "490154203237518\n"), 1):
        file.write_text(text)
        os.utime(file, (number, number))
        with caplog.at_level(logging.INFO):
            await reader.look()
        assert bar.barred_imei(request) == ("35693803564380" if number == 1 else "")
    assert [each.levelname for each in caplog.records if each.name == "ocs.process.barred_equipment"] == [
        *("ERROR", "INFO"),
    ]
