"""`make kills`: writes out/kills.json and out/kills.txt. Exit status 1: something was lost or doubled."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from tests.faults.kills.run import Plan, Report, run

_told = 0


def show(report: Report) -> None:
    """One line of progress; each fault at once."""
    global _told
    for fault in report.books.faults[_told:]:
        print(f"\n{fault}")
    _told = len(report.books.faults)
    number = sum(report.kills.values())
    print(
        f"\r{number} of {report.plan.kills} kills, {report.books.operations} operations, "
        f"{report.books.repeated} repeated, {len(report.books.faults)} faults ",
        end="\n" if number % 25 == 0 else "",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="make kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=120.0, help="after these, no more kills")
    parser.add_argument("--postgresql", action="store_true", help="the history is in PostgreSQL, which is killed too")
    parser.add_argument("--out", type=Path, default=Path("out"))
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ocs-kills-"))
    plan = Plan(kills=asked.kills, seed=asked.seed, minutes=asked.minutes, postgresql=asked.postgresql)
    report = asyncio.run(run(plan, folder / "ocs", show))
    asked.out.mkdir(exist_ok=True)
    (asked.out / "kills.json").write_text(report.as_json(), encoding="utf-8")
    (asked.out / "kills.txt").write_text(report.text(), encoding="utf-8")
    print("\n" + report.text(), end="")
    if report.ok:
        shutil.rmtree(folder)
        return 0
    print(f"the server's folder is kept: {folder}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
