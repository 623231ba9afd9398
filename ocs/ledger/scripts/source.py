"""One script for Redis: its name and its text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScriptSource:
    """`shared` comes first. It has functions and constants only: a library runs it once and keeps its locals from call
    to call. `body` reads KEYS and ARGV and returns the result; it uses at most 60 of the shared functions and constants
    (Lua's limit of upvalues).
    """

    name: str
    shared: tuple[str, ...]
    body: str
