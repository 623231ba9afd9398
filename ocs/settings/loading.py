"""Loads the settings: one TOML file, overridden by environment variables, validated before anything starts.

All mistakes are reported together, each with file or variable, key, value and what is allowed. An unknown key is a
mistake.

- `OCS_<SECTION>_<KEY>` overrides `[section] key`, e.g. OCS_REDIS_URL, OCS_DIAMETER_LISTEN (a list is comma-separated).
- A path in the file is relative to the file's folder (`PathText`), a path in the environment to the current folder.
- Without a catalogue beside the settings, the one that comes with ocs is used (`ocs/defaults`).
"""

from __future__ import annotations

import contextlib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from ocs.settings.base import RELATIVE_TO_FILE, CombinationError
from ocs.settings.reconciliation import ReconcileSection
from ocs.settings.schema import ServerSection, Settings

ENVIRONMENT_PREFIX = "OCS_"
CONFIG_VARIABLE = "OCS_CONFIG"
"""Environment variable that names the settings file, for the command line."""
DEFAULT_CONFIG = Path("config/ocs.toml")
DEFAULTS = Path(__file__).parents[1] / "defaults"
"""The settings file and the catalogue that come with ocs."""
CATALOGUE = "catalogue.toml"
RECONCILE = "reconcile"
MAX_CONFIG_OCTETS = 4 * 1024 * 1024
"""Largest settings file that is read (a thousand peers take about 64 kB)."""


NO_PEER = "nobody may connect: add a [[peer]], or set diameter.accept_unknown_peers = true in a lab"
PYDANTIC_KEY = "[key]"
"""pydantic appends it to the location if a table's key, not its value, is invalid."""
_BARE = re.compile(r"[A-Za-z0-9_-]+")
"""A TOML key that needs no quotes."""
_SECRET = re.compile(r"://[^@/]*@")
"""User and password of a URL."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong in the settings, worded for the operator."""

    place: str
    """File, or "environment"."""
    key: str
    """Key or variable; "" = the whole file."""
    value: str
    allowed: str
    peer: str = ""
    """Origin-Host of the [[peer]] that it is in, as indexes are hard to count."""

    def __str__(self) -> str:
        given = f" = {self.value}" if self.value else ""
        what = f"{self.key}{given}: " if self.key else ""
        return f"{self.place}: {what}{self.allowed}" + (f" (peer {self.peer})" if self.peer else "")


class SettingsError(Exception):
    """The settings cannot be used; `mistakes` lists all reasons."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = mistakes


def load_settings(path: Path, environment: Mapping[str, str] | None = None, *, serves: bool = True) -> Settings:
    """The settings of `path`, overridden by `environment` (default: os.environ). SettingsError.

    `serves`: True for a server, which must allow at least one peer; a command that only reads the ledger needs none.
    """
    environment = os.environ if environment is None else environment
    document = _read(path)
    sources, mistakes = _override(document, environment)
    _locate(document, path, sources)
    try:
        settings = Settings.model_validate(document)
    except ValidationError as error:
        for entry in error.errors():
            mistakes += _mistakes(path, sources, dict(entry), document)
    if not mistakes and serves and not settings.peer and not settings.diameter.accept_unknown_peers:
        mistakes.append(Mistake(str(path), "", "", NO_PEER))
    if mistakes:
        raise SettingsError(mistakes)
    return settings


def load_mapping(path: Path) -> ReconcileSection:
    """The keys of `[reconcile]` in a file of their own, with or without the name of the table. SettingsError."""
    document = _read(path)
    if set(document) != {RECONCILE}:
        document = {RECONCILE: document}
    try:
        return Settings.model_validate(document).reconcile
    except ValidationError as error:
        raise SettingsError(
            [mistake for entry in error.errors() for mistake in _mistakes(path, {}, dict(entry), document)]
        ) from None


def unknown_sections(environment: Mapping[str, str]) -> list[str]:
    """OCS_ variables that name no section of the settings. They are only warned of, since container platforms set such
    variables themselves (for a service called "ocs": OCS_SERVICE_HOST).
    """
    sections = tuple(f"{ENVIRONMENT_PREFIX}{name.upper()}_" for name in _sections())
    ours = (*sections, CONFIG_VARIABLE)
    return sorted(name for name in environment if name.startswith(ENVIRONMENT_PREFIX) and not name.startswith(ours))


def _read(path: Path) -> dict[str, Any]:
    place = str(path)
    try:
        if path.stat().st_size > MAX_CONFIG_OCTETS:
            raise SettingsError([Mistake(place, "", "", f"is larger than {MAX_CONFIG_OCTETS} octets")])
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError([Mistake(place, "", "", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise SettingsError([Mistake(place, "", "", f"is not UTF-8 text: {error.reason}")]) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([Mistake(place, "", "", f"is not TOML: {error}")]) from error


def _override(
    document: dict[str, Any], environment: Mapping[str, str]
) -> tuple[dict[tuple[str, ...], str], list[Mistake]]:
    """Write the environment's values into the document. Returns key → variable that set it, and mistakes."""
    sources: dict[tuple[str, ...], str] = {}
    mistakes: list[Mistake] = []
    for name in sorted(environment):
        for section, model in _sections().items():
            prefix = f"{ENVIRONMENT_PREFIX}{section.upper()}_"
            if not name.startswith(prefix):
                continue
            key = name.removeprefix(prefix).lower()
            table = document.setdefault(section, {})
            if key not in model.model_fields:
                allowed = ", ".join(f"{prefix}{field.upper()}" for field in model.model_fields)
                mistakes.append(
                    Mistake("environment", name, repr(environment[name]), f"is not a setting; there are {allowed}")
                )
            elif isinstance(table, dict):
                table[key] = _from_text(model.model_fields[key].annotation, environment[name])
                sources[section, key] = name
    return sources, mistakes


def _sections() -> dict[str, type[BaseModel]]:
    """Sections that are a single table: the environment can override their keys, but not those of a [[peer]]."""
    return {
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def _from_text(annotation: Any, text: str) -> object:
    """The value as TOML would give it. Text that cannot be converted stays text, which validation then rejects."""
    words = get_args(annotation) or (annotation,)
    kinds = {word if isinstance(word, type) else type(word) for word in words}  # of Literal[1000, 1024]: int
    if get_origin(annotation) is dict:
        pairs = [item.rpartition("=") for item in text.split(",") if item.strip()]
        return {key.strip(): value.strip() for key, _, value in pairs} if all(sign for _, sign, _ in pairs) else text
    if get_origin(annotation) in (list, tuple):
        return [item.strip() for item in text.split(",") if item.strip()]
    if bool in kinds:
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(
            text.strip().lower(), text
        )
    for number in (int, float):
        if number in kinds:
            with contextlib.suppress(ValueError):
                return number(text)
    return text


def _locate(document: dict[str, Any], path: Path, sources: Mapping[tuple[str, ...], str]) -> None:
    """Resolve the paths of the file against its folder, and fill in the defaults of data_dir and catalogue."""
    server = document.setdefault("server", {})
    if not isinstance(server, dict):
        return
    written = server.setdefault("data_dir", ServerSection.model_fields["data_dir"].default)
    for section, model in _sections().items():
        table = document.get(section)
        if not isinstance(table, dict):
            continue
        for key, field in model.model_fields.items():
            name = table.get(key)
            if RELATIVE_TO_FILE in field.metadata and isinstance(name, str) and name and (section, key) not in sources:
                table[key] = str(path.parent / name)
    if not server.get("catalogue"):
        beside = path.parent / CATALOGUE
        server["catalogue"] = str(beside if beside.is_file() else DEFAULTS / CATALOGUE)
    if ("server", "data_dir") in sources or not isinstance(written, str) or not written:
        return
    # Absolute, so that it does not depend on the current folder. ".." is removed from the text after the folder's links
    # are resolved.
    data_dir = Path(os.path.normpath(path.parent.resolve() / written))
    server["data_dir"] = str(data_dir)


def _mistakes(
    path: Path, sources: Mapping[tuple[str, ...], str], entry: dict[str, Any], document: dict[str, Any]
) -> list[Mistake]:
    cause = entry.get("ctx", {}).get("error")
    if not isinstance(cause, CombinationError):
        return [replace(_mistake(path, sources, entry), peer=_peer(document, entry["loc"]))]
    found = []
    for within, value, reason in cause.found:
        location = (*entry["loc"], *within)
        shown = "" if value is None else repr(value)
        found.append(Mistake(*_where(path, sources, location), shown, reason, _peer(document, location)))
    return found


def _peer(document: dict[str, Any], location: tuple[Any, ...]) -> str:
    """Origin-Host of the [[peer]] that the key is in; "" if there is none, or if it is the key that is wrong."""
    if len(location) < 3 or location[0] != "peer" or location[2] == "origin_host":
        return ""
    return str(document["peer"][location[1]].get("origin_host", ""))


def _where(path: Path, sources: Mapping[tuple[str, ...], str], location: tuple[Any, ...]) -> tuple[str, str]:
    """Place and key of a mistake."""
    variable = sources.get(tuple(str(part) for part in location[:2]))
    return ("environment", variable) if variable else (str(path), _dotted(location))


def _mistake(path: Path, sources: Mapping[tuple[str, ...], str], entry: dict[str, Any]) -> Mistake:
    location = tuple(entry["loc"])
    place, key = _where(path, sources, location)
    allowed = _allowed(location)
    if entry["type"] == "extra_forbidden":
        return Mistake(place, key, "", f"is not a setting; there are {_siblings(location)}")
    if entry["type"] == "missing":
        return Mistake(place, key, "", f"is missing; allowed: {allowed}" if allowed else "is missing")
    value = _SECRET.sub("://***@", repr(entry["input"])) if not isinstance(entry["input"], dict) else ""
    reason = str(entry["msg"]).removeprefix("Value error, ")
    return Mistake(place, key, value, f"{reason}; allowed: {allowed}" if allowed else reason)


def _dotted(location: tuple[Any, ...]) -> str:
    text = ""
    for part in location:
        if part == PYDANTIC_KEY:
            continue
        name = f"[{part}]" if isinstance(part, int) else part if _BARE.fullmatch(part) else f'"{part}"'
        text += name if isinstance(part, int) or not text else f".{name}"
    return text


def _walk(location: tuple[Any, ...]) -> tuple[type[BaseModel] | None, str]:
    """The innermost model on the way to `location`, and the description of the innermost field."""
    model: type[BaseModel] | None = Settings
    allowed = ""
    for part in location:
        if isinstance(part, int) or model is None or part not in model.model_fields:
            continue
        field = model.model_fields[part]
        allowed = field.description or allowed
        inner = next((kind for kind in (field.annotation, *get_args(field.annotation)) if _is_model(kind)), None)
        if inner is not None:
            model = inner
    return model, allowed


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _allowed(location: tuple[Any, ...]) -> str:
    return _walk(location)[1]


def _siblings(location: tuple[Any, ...]) -> str:
    model, _ = _walk(location[:-1])
    return ", ".join(model.model_fields) if model is not None else "none"
