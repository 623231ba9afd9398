"""The list of what was shown with unmasked numbers: who, why, what. One JSON line for each, in the data folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import orjson

from ocs.values.moment import utc_text


def note_disclosure(path: Path, *, who: str, why: str, at: int, what: Mapping[str, object]) -> None:
    """Appends durably, before anything is shown. `at`: Unix seconds; `what`: the further keys of the line."""
    line = {"time": utc_text(at), "who": who, "reason": why, **what}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as lines:
        lines.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        lines.flush()
        os.fsync(lines.fileno())
