"""The ledger's Lua scripts, one file each, after the files that they share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

NAMES = ("charge", "refund", "open", "top_up", "package", "change", "release", "terminate", "sweep")
SHARED = ("document", "lib")
MORE = {"charge": ("pay",)}


@dataclass(frozen=True, slots=True)
class Script:
    source: bytes
    sha: bytes


def load() -> dict[str, Script]:
    """All scripts by name."""
    folder = files(__package__)
    scripts = {}
    for name in NAMES:
        parts = (*SHARED, *MORE.get(name, ()), name)
        source = b"".join(folder.joinpath(f"{part}.lua").read_bytes() for part in parts)
        scripts[name] = Script(source, hashlib.sha1(source, usedforsecurity=False).hexdigest().encode())
    return scripts
