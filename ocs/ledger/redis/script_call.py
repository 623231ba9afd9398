"""How the ledger's scripts are loaded and called: as a library of functions where Redis is 7 or later, else by SHA1.

`EVALSHA` runs the whole text of a script: what the scripts share is defined anew at each call. A function library
(`FUNCTION LOAD`, `FCALL`) defines it once, which saves about 5 µs a call. Redis keeps libraries in its AOF and
replicates them.

A library's name carries the hash of its text: workers of two versions run side by side during a rolling restart, and
one that is there need not be replaced. Whoever starts deletes the oldest of ours beyond LIBRARIES_KEPT. A worker that
still needed one is told "Function not found" and loads it again, as it does at NOSCRIPT. In a cluster every connection
to a master loads what that lacks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from ocs.ledger.redis.request import command
from ocs.ledger.scripts.source import ScriptSource

FIRST_VERSION_WITH_FUNCTIONS = 7
LIBRARY_PREFIX = "ocs_"
LIBRARIES_KEPT = 3
"""Libraries of ours on a server: the version before, this one, and one to go back to."""
GC_PAUSE = 1000
"""Percent of what the functions' Lua kept (about 1 MB) at which its collector begins anew. At Lua's own 200 it takes a
tenth of a call.
"""
MISSING = ("NOSCRIPT", "ERR Function not found")
"""What Redis answers to a call whose script it does not have: load, then send again."""
AT_MASTER = "redis.call('PERSIST', KEYS[1])"
"""Begins a script by SHA1: a command that changes nothing (an account's document has no TTL) and that a replica
refuses. A function is refused there as a whole; a script would answer that the account is unknown, if it is, before it
has anything to write.
"""


def loaded(answer: object) -> bool:
    """Whether a load command has done what it should, given its answer or its error."""
    return not isinstance(answer, Exception) or "already exists" in str(answer)


class ScriptCalls:
    """The commands that load the scripts, and how each call of one begins. `choose` first; until then it is by SHA1."""

    def __init__(self, sources: Sequence[ScriptSource], loaded_at_s: int) -> None:
        """`loaded_at_s`: Unix seconds, to know old libraries by."""
        self._sources = sources
        self._loaded_at_s = loaded_at_s
        self.loads: list[bytes] = []
        """Packed commands. Each may be sent again at any time."""
        self.library = ""
        """Name of the function library, "" = none."""
        self._prefixes: dict[str, tuple[bytes, bytes]] = {}
        self.choose(functions=False)

    def choose(self, *, functions: bool) -> None:
        """`functions`: every server knows them (`knows_functions`)."""
        if functions:
            digest = hashlib.sha1(repr(self._sources).encode(), usedforsecurity=False).hexdigest()[:16]
            self.library = f"{LIBRARY_PREFIX}{digest}"
            text = _library(self.library, self._sources, self._loaded_at_s)
            self.loads = [command((b"FUNCTION", b"LOAD", text.encode()))]
            self._prefixes = {
                each.name: (b"FCALL", _function(self.library, each.name).encode()) for each in self._sources
            }
            return
        self.library, self.loads = "", []
        for each in self._sources:
            text = "\n".join((AT_MASTER, *each.shared, each.body))
            sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
            self.loads.append(command((b"SCRIPT", b"LOAD", text.encode())))
            self._prefixes[each.name] = (b"EVALSHA", sha.encode())

    def prefix(self, name: str) -> tuple[bytes, bytes]:
        """The first two words of a call; the number of keys, the keys and the arguments follow."""
        return self._prefixes[name]


def _function(library: str, name: str) -> str:
    return f"{library}_{name}"


def _library(library: str, sources: Sequence[ScriptSource], loaded_at_s: int) -> str:
    """While a library is loaded, Lua has no `math`, `cmsgpack` or `redis.call`: what is shared runs at the first call
    of a function.
    """
    lines = [f"#!lua name={library}"]
    groups = list(dict.fromkeys(each.shared for each in sources))
    for number, shared in enumerate(groups):
        lines += [f"local function build_{number}()", f"collectgarbage('setpause', {GC_PAUSE})", *shared, "return {"]
        for each in sources:
            if each.shared == shared:
                lines += [f"{each.name} = function(KEYS, ARGV)", each.body, "end,"]
        lines += ["} end", f"local built_{number}"]
    for each in sources:
        number = groups.index(each.shared)
        lines += [
            f"local run_{each.name}",
            "redis.register_function{",
            f"  function_name = '{_function(library, each.name)}', description = '{loaded_at_s}',",
            "  callback = function(keys, args)",
            f"    if not run_{each.name} then",
            f"      built_{number} = built_{number} or build_{number}()",
            f"      run_{each.name} = built_{number}.{each.name}",
            "    end",
            f"    return run_{each.name}(keys, args)",
            "  end}",
        ]
    return "\n".join(lines) + "\n"


# -- the servers' side


async def knows_functions(client: Any) -> bool:
    """Whether a server has function libraries and lets us use them."""
    try:
        version = str((await client.info("server"))["redis_version"])
        if int(version.partition(".")[0]) < FIRST_VERSION_WITH_FUNCTIONS:
            return False
        await _libraries(client)
    except Exception:  # noqa: BLE001 - a managed Redis that does not say is called by SHA1, which all of them know
        return False
    return True


async def delete_old(client: Any, own: str) -> list[str]:
    """Delete libraries of ours beyond LIBRARIES_KEPT, those that were loaded first; their names."""
    old = superfluous(await _libraries(client), own)
    for name in old:
        await client.execute_command("FUNCTION DELETE", name)
    return old


def superfluous(libraries: Iterable[tuple[str, int]], own: str) -> list[str]:
    """Which of the libraries (name, Unix seconds of its loading) are too many."""
    others = sorted((at, name) for name, at in libraries if name.startswith(LIBRARY_PREFIX) and name != own)
    return [name for _, name in others[: max(len(others) - (LIBRARIES_KEPT - 1), 0)]]


async def _libraries(client: Any) -> list[tuple[str, int]]:
    found = []
    for flat in await client.execute_command("FUNCTION LIST", "LIBRARYNAME", f"{LIBRARY_PREFIX}*"):
        library = _fields(flat)
        described = [str(_text(_fields(each).get("description"))) for each in library["functions"]]
        found.append(
            (_text(library["library_name"]), max((int(each) for each in described if each.isdigit()), default=0))
        )
    return found


def _fields(flat: Any) -> dict[str, Any]:
    """RESP2 tells a map as a list of names and values."""
    pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
    return {_text(name): value for name, value in pairs}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
