"""Files of charging records, as the housekeeper writes them, and the rows that they must become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Engine, Table, select

from ocs.catalogue.versions import Catalogues
from ocs.history.loader import EventHook, Loader
from ocs.history.rows import Projection
from ocs.ledger.contract.events import OutboxEvent
from ocs.outbox.files import file_name
from ocs.outbox.format import record
from ocs.outbox.vat import Vat
from tests.catalogue import fixed_versions

T0 = 1_796_043_600
"""2026-11-30T13:00:00Z."""
HOUR, DAY = 3_600, 86_400


def month_of(unix_s: int) -> int:
    moment = datetime.fromtimestamp(unix_s, UTC)
    return moment.year * 100 + moment.month


class Journal:
    """Events of several accounts, each with the credit that is left; made into lines of records."""

    def __init__(self, partitions: int = 4) -> None:
        self._partitions = partitions
        self._sequences: dict[int, int] = {}
        self.credit: dict[str, int] = {}
        self._vat = Vat(Catalogues(fixed_versions(), lambda: T0))

    def line(self, account: str, kind: str, at: int, **fields: Any) -> bytes:
        """`debit`, `credit_in`: micro-EUR; the credit afterwards is filled in."""
        partition = int(account.partition("-")[0]) % self._partitions
        self.credit[account] = self.credit.get(account, 0) + fields.get("credit_in", 0) - fields.get("debit", 0)
        body = {"k": kind, "t": at, "a": account, "credit": self.credit[account], **fields}
        return self._line(partition, body)

    def charge(self, account: str, at: int, sid: str, *lines: dict[str, Any], **fields: Any) -> bytes:
        """A charging record of a session, with its lines (`use`)."""
        body = {"sid": sid, "ctx": "ims", "typ": "U", "n": 1, "code": 2001, "started": T0, **fields}
        return self.line(account, "charge", at, svc=lines, **body)

    def _line(self, partition: int, body: dict[str, Any]) -> bytes:
        sequence = self._sequences[partition] = self._sequences.get(partition, 0) + 1
        event = OutboxEvent(partition, sequence, body)
        return orjson.dumps(record(event, self._vat), None, orjson.OPT_APPEND_NEWLINE)

    def roll_back(self, partition: int, epoch: int, sequence: int = 0) -> None:
        """The next event has number `sequence + 1` of that epoch."""
        self._sequences[partition] = epoch * 10**12 + sequence


def use(label: str = "voice.home.national", used: int = 60, debit: int = 0, **fields: Any) -> dict[str, Any]:
    """A line of a charging record. `units`: [[bucket, units]]."""
    line = {"key": "-", "label": label, "price": f"{label}@1", "detail": "29340 mo tel:+38641038107", "used": used}
    return {**line, "debit": debit, "units": [], "overrun": 0, "dropped": 0, **fields}


class Folder:
    """A folder of record files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self._number = 0

    def begin(self, text: str = "2026-11-30T13:00:00Z") -> Path:
        """A new file."""
        self._number += 1
        path = self.path / file_name(self._number, text)
        path.touch()
        return path

    def append(self, *lines: bytes, path: Path | None = None) -> None:
        last = path or max(self.path.glob("records-*"), default=None) or self.begin()
        with last.open("ab") as file:
            file.write(b"".join(lines))


def projection(months: Callable[[int], int]) -> Projection:
    return Projection(months, lambda rate: rate == "emergency", lambda product: product == "MAXI")


def loader(
    engine: Engine,
    folder: Folder,
    hooks: Sequence[EventHook] = (),
    octets: int = 1 << 20,
    months: Callable[[int], int] = month_of,
) -> Loader:
    return Loader(engine, folder.path, projection(months), hooks, octets=octets)


def load_all(engine: Engine, folder: Folder, octets: int = 1 << 20, *, months: Callable[[int], int] = month_of) -> None:
    """By a loader of its own, as after a restart. `months`: of the operator's time zone, if it is not UTC."""
    each = loader(engine, folder, octets=octets, months=months)
    while each.step():
        pass


def rows(engine: Engine, table: Table, *names: str) -> list[tuple[Any, ...]]:
    """Sorted by the columns `names`."""
    with engine.connect() as connection:
        found = connection.execute(select(*(table.c[name] for name in names)))
        return sorted((tuple(row) for row in found), key=str)
