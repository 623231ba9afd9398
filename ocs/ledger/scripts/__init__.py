"""The ledger's Lua scripts, one file each; lib.lua is put before every one of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

NAMES = ("charge", "refund", "open", "top_up", "package", "change", "release", "terminate", "sweep")


@dataclass(frozen=True, slots=True)
class Script:
    source: bytes
    sha: bytes


def load() -> dict[str, Script]:
    """All scripts by name."""
    folder = files(__package__)
    library = folder.joinpath("lib.lua").read_bytes()
    scripts = {}
    for name in NAMES:
        source = library + folder.joinpath(f"{name}.lua").read_bytes()
        scripts[name] = Script(source, hashlib.sha1(source, usedforsecurity=False).hexdigest().encode())
    return scripts
