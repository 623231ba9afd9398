"""One script for Redis: its name and its text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScriptSource:
    """One script. `shared` comes first and holds nothing but functions and constants, as a library runs it only once
    and keeps its locals from call to call; `body` reads KEYS and ARGV, uses at most 60 of them (Lua's limit of
    upvalues) and returns the result."""

    name: str
    shared: tuple[str, ...]
    body: str
