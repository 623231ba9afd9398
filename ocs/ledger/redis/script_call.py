"""How the ledger's scripts are loaded and called: as a library of functions where Redis is 7 or later, else by SHA1.

`EVALSHA` runs the whole text of a script, so the shared functions are defined anew at each call. A function library
(`FUNCTION LOAD`, `FCALL`) defines them once, which saves about 5 µs a call. Redis keeps libraries in its AOF and
replicates them.

The name of a library has the hash of its text, so that workers of two versions can run side by side during a rolling
restart. Each process deletes at start the oldest libraries beyond LIBRARIES_KEPT. A worker whose library was deleted
gets "Function not found" and loads it again, as after NOSCRIPT. In a cluster every connection to a master loads the
library.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from ocs.ledger.redis.request import command
from ocs.ledger.scripts.source import ScriptSource

FIRST_VERSION_WITH_FUNCTIONS = 7
LIBRARY_PREFIX = "ocs_"
LIBRARIES_KEPT = 3
"""Our libraries on a server: this version's and two older ones."""
GC_PAUSE = 1000
"""`setpause` of Lua's garbage collector: a cycle begins when memory has grown to ten times what was kept (about 1 MB).
At the default of 200 the collector takes a tenth of each call."""
MISSING = ("NOSCRIPT", "ERR Function not found")
"""Errors of a call whose script is not loaded: load it, then send the call again."""
AT_MASTER = "redis.call('PERSIST', KEYS[1])"
"""First command of a script by SHA1. It changes nothing (an account's document has no TTL), but a replica refuses it.
Without it a replica would answer that an account is unknown. A function is refused on a replica anyway."""


def loaded(answer: object) -> bool:
    """Whether a load command succeeded, given its answer or error."""
    return not isinstance(answer, Exception) or "already exists" in str(answer)


class ScriptCalls:
    """Commands that load the scripts, and the first words of each call. By SHA1 until `choose` is called."""

    def __init__(self, sources: Sequence[ScriptSource], loaded_at_s: int) -> None:
        """`loaded_at_s`: Unix seconds; tells older libraries from newer ones."""
        self._sources = tuple(sources)
        self._loaded_at_s = loaded_at_s
        self.loads: list[bytes] = []
        """Packed load commands. Each may be repeated at any time."""
        self.library = ""
        """Name of the function library, "" = none."""
        self._prefixes: dict[str, tuple[bytes, bytes]] = {}
        self.choose(functions=False)

    def choose(self, *, functions: bool) -> None:
        """`functions`: every server supports them (`knows_functions`)."""
        if functions:
            self.library = f"{LIBRARY_PREFIX}{_digest(self._sources)}"
            text = _library(self.library, self._sources, self._loaded_at_s)
            self.loads = [command((b"FUNCTION", b"LOAD", text.encode()))]
            self._prefixes = {
                each.name: (b"FCALL", _function(self.library, each.name).encode()) for each in self._sources
            }
            return
        self.library = ""
        self.loads, self._prefixes = [], {}
        for name, load, sha in _by_sha1(self._sources):
            self.loads.append(load)
            self._prefixes[name] = (b"EVALSHA", sha)

    def prefix(self, name: str) -> tuple[bytes, bytes]:
        """The first two words of a call; the number of keys, the keys and the arguments follow."""
        return self._prefixes[name]


@lru_cache(maxsize=4)
def _digest(sources: tuple[ScriptSource, ...]) -> str:
    text = _library("", sources, 0)
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:16]


@lru_cache(maxsize=4)
def _by_sha1(sources: tuple[ScriptSource, ...]) -> tuple[tuple[str, bytes, bytes], ...]:
    """Name, packed load command and SHA1 of each script."""
    found = []
    for each in sources:
        text = "\n".join((AT_MASTER, *each.shared, each.body)).encode()
        sha = hashlib.sha1(text, usedforsecurity=False).hexdigest()
        found.append((each.name, command((b"SCRIPT", b"LOAD", text)), sha.encode()))
    return tuple(found)


def _function(library: str, name: str) -> str:
    return f"{library}_{name}"


def _library(library: str, sources: Sequence[ScriptSource], loaded_at_s: int) -> str:
    """Text of the library. While it is loaded, Lua has no `math`, `cmsgpack` or `redis.call`, so the shared part runs
    at the first call of a function."""
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


# -- libraries on the servers


async def knows_functions(client: Any) -> bool:
    """Whether a server has function libraries and allows us to use them."""
    try:
        version = str((await client.info("server"))["redis_version"])
        if int(version.partition(".")[0]) < FIRST_VERSION_WITH_FUNCTIONS:
            return False
        await _libraries(client)
    except Exception:  # noqa: BLE001 - if the server does not tell, SHA1 works everywhere
        return False
    return True


async def delete_old(client: Any, own: str) -> list[str]:
    """Delete our oldest libraries beyond LIBRARIES_KEPT; returns their names."""
    old = superfluous(await _libraries(client), own)
    for name in old:
        await client.execute_command("FUNCTION DELETE", name)
    return old


def superfluous(libraries: Iterable[tuple[str, int]], own: str) -> list[str]:
    """Names of the libraries to delete, out of (name, Unix seconds when it was loaded)."""
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
    """A map; in RESP2 it comes as a list of names and values."""
    pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
    return {_text(name): value for name, value in pairs}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
