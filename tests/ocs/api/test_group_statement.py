"""The statement of a business group over the API, as JSON and CSV (HOT-GRP-3)."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ocs.api.rights import Role
from ocs.history.migrating import migrate
from ocs.values.identities import Msisdn
from tests.ocs.api.desk import BOSS, GROUP, OWN, Desk, desk_on
from tests.ocs.history.records import Folder, Journal, load_all, use
from tests.rules import rule


@pytest.fixture
async def desk(empty_redis: str, tmp_path: Path) -> AsyncIterator[Desk]:
    """With a history of the middle of last month."""
    async with desk_on(empty_redis, data_dir=tmp_path) as made:
        assert made.container.history is not None
        migrate(made.container.history.engine)
        at = int(middle_of_last_month(made).timestamp())
        boss, member = [await made.backend.accounts.find(each) for each in (BOSS, OWN)]
        journal, folder = Journal(2000), Folder(tmp_path / "records")
        folder.append(
            journal.line(boss, "group", at - 9, group=GROUP, state="administrator"),
            journal.line(member, "group", at - 9, group=GROUP, state="joined"),
            journal.line(boss, "transfer_out", at, to=member, ref="=t", group=GROUP, debit=5_000_000),
            journal.line(member, "transfer_in", at, of=boss, ref="=t", group=GROUP, credit_in=5_000_000),
            journal.line(member, "package", at + 1, id="MINI", ok=1, debit=1_220_000, price=1_220_000, period_end=at),
            journal.charge(member, at + 2, "s", use(debit=122_000), debit=122_000, started=at + 2),
            journal.line(member, "package", at + 3, id="SMS-200", ok=1, debit=0, price=610_000, separate_out=610_000),
        )
        folder.begin()
        load_all(made.container.history.engine, folder, months=made.backend.catalogue.month_of)
        yield made


def middle_of_last_month(desk: Desk) -> datetime:
    now = datetime.fromtimestamp(desk.backend.environment.now(), UTC)
    return (now.replace(day=1) - timedelta(days=1)).replace(day=15, hour=12)


@rule("HOT-GRP-3")
async def test_a_statement_of_a_group(desk: Desk) -> None:
    path = f"/v1/groups/{GROUP}/statements/{middle_of_last_month(desk):%Y-%m}"
    answer = await desk.get(path, Role.GROUP_ADMIN)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["name"] == "Firma"
    assert found["sold"] == [{"net": "1.10", "vat": "0.242", "gross": "1.342", "vat_percent": 22}]
    by_number = {each["msisdn"]: each for each in found["numbers"]}
    assert set(by_number) == {BOSS, OWN}
    assert [each["kind"] for each in by_number[OWN]["transactions"]] == ["transfer_in", "package"]
    assert [each["what"] for each in by_number[OWN]["separate"]] == ["SMS-200"]
    text = (await desk.get(path, Role.GROUP_ADMIN, params={"format": "csv"})).text
    lines = list(csv.DictReader(text.splitlines()))
    assert [(each["msisdn"], each["account"], each["kind"], each["gross_eur"]) for each in lines] == [
        (OWN, "company", "transfer_in", "5.00"),
        (OWN, "company", "package", "-1.22"),
        (OWN, "company", "use", "-0.122"),
        (OWN, "separate", "package", "-0.61"),
        (BOSS, "company", "transfer_out", "-5.00"),
        ("", "total", "", "1.342"),
    ]
    assert all(None not in each and None not in each.values() for each in lines), "each row has all columns"
    assert lines[0]["reference"] == "'=t", "a spreadsheet takes it for no formula"
    for partition in range(desk.ledger.partitions):  # the database learns of a move some seconds later
        await desk.backend.accounts.move(Msisdn(OWN), partition=partition)
        assert (await desk.get(path, Role.GROUP_ADMIN)).json() == found
    assert (await desk.get(path, Role.MEMBER)).status_code == 403
    now = datetime.fromtimestamp(desk.backend.environment.now(), UTC)
    current = await desk.get(f"/v1/groups/{GROUP}/statements/{now + timedelta(hours=1):%Y-%m}", Role.GROUP_ADMIN)
    assert (current.status_code, current.json()["code"]) == (409, "month")
