"""The file of events that the ledger lost: followed, also over a crash in the middle of a line."""

from __future__ import annotations

from pathlib import Path

from ocs.outbox.lost_events import LostEvents, add_lost_events
from tests.rules import rule


@rule("HOT-NOT-2")
def test_each_event_is_told_once_and_a_line_that_is_being_written_later(tmp_path: Path) -> None:
    path = tmp_path / "data" / "lost-events.jsonl"
    follower = LostEvents(path)
    assert follower.fresh() == []
    add_lost_events(path, [], 1)
    assert not path.exists()
    add_lost_events(path, ["p00-1", "p00-2"], 1)
    assert follower.fresh() == ["p00-1", "p00-2"] and follower.fresh() == []
    with path.open("ab") as file:
        file.write(b'{"time": "x", "ev')
    assert follower.fresh() == []
    add_lost_events(path, ["p01-1"], 2)
    assert follower.fresh() == ["p01-1"], "behind the line that a crash has cut"
    assert list(follower.known) == LostEvents(path).fresh() == ["p00-1", "p00-2", "p01-1"]
