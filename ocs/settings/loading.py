"""Settings of the server: one TOML file, overridden by environment variables, validated whole before anything starts.

Every mistake is reported at once as place (file or variable), key, value and what is allowed. Unknown keys are
mistakes too.

- `OCS_<SECTION>_<KEY>` overrides `[section] key`, e.g. OCS_REDIS_URL, OCS_DIAMETER_LISTEN (a list is comma-separated).
- A path in the file is relative to the file's folder (`PathText`), one in the environment to the current folder.
- Without a catalogue of its own an installation has the one that comes with ocs (`ocs/defaults`).
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from ocs.settings.base import RELATIVE_TO_FILE, Misfits
from ocs.settings.schema import ServerSection, Settings

ENVIRONMENT_PREFIX = "OCS_"
CONFIG_VARIABLE = "OCS_CONFIG"
"""Names the settings file itself, for the command line."""
DEFAULT_CONFIG = Path("config/ocs.toml")
DEFAULTS = Path(__file__).parents[1] / "defaults"
"""The settings file and the catalogue that come with ocs."""
CATALOGUE = "catalogue.toml"
MAX_CONFIG_OCTETS = 4 * 1024 * 1024
"""A settings file larger than this is not one (64 kB would do for a thousand peers)."""

OURS = ("redis", "records", "serve.lock")
"""A data folder that was used has one of them."""

NOBODY = "nobody may connect: add a [[peer]], or set diameter.accept_unknown_peers = true in a lab"
KEY_ITSELF = "[key]"
"""What pydantic adds to the location of a table's key that is not allowed."""
_BARE = re.compile(r"[A-Za-z0-9_-]+")
"""A key that TOML takes without quotes."""
_SECRET = re.compile(r"://[^@/]*@")


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong, in words for the person who has to put it right."""

    place: str
    key: str
    """"" = the file as a whole."""
    value: str
    allowed: str
    peer: str = ""
    """Whose entry it stands in: nobody counts a hundred of them."""

    def __str__(self) -> str:
        given = f" = {self.value}" if self.value else ""
        what = f"{self.key}{given}: " if self.key else ""
        return f"{self.place}: {what}{self.allowed}" + (f" (peer {self.peer})" if self.peer else "")


class SettingsError(Exception):
    """The settings cannot be used; `mistakes` has all of them."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = mistakes


def load_settings(path: Path, environment: Mapping[str, str] | None = None, *, serves: bool = True) -> Settings:
    """The settings of `path` with the overrides of `environment` (default: this process's). `serves`: for a server,
    which must have somebody to serve; a command that only looks into the ledger needs no peer.
    """
    environment = os.environ if environment is None else environment
    document = _read(path)
    sources, mistakes = _override(document, environment)
    mistakes += _locate(document, path, sources)
    try:
        settings = Settings.model_validate(document)
    except ValidationError as error:
        for entry in error.errors():
            mistakes += _mistakes(path, sources, dict(entry), document)
    if not mistakes and serves and not settings.peer and not settings.diameter.accept_unknown_peers:
        mistakes.append(Mistake(str(path), "", "", NOBODY))
    if mistakes:
        raise SettingsError(mistakes)
    return settings


def unknown_sections(environment: Mapping[str, str]) -> list[str]:
    """OCS_ variables that name no section of the settings: worth a warning, not a refusal, since container platforms
    set variables of that form themselves (a service called "ocs" gets OCS_SERVICE_HOST)."""
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
    """Put the environment's values into the document; returns which variable set which key."""
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
                    Mistake("environment", name, repr(environment[name]), f"is no setting; there are {allowed}")
                )
            elif isinstance(table, dict):
                table[key] = _from_text(model.model_fields[key].annotation, environment[name])
                sources[section, key] = name
    return sources, mistakes


def _sections() -> dict[str, type[BaseModel]]:
    """Sections that are one table, so that the environment can override their keys (a [[peer]] cannot be)."""
    return {
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def _from_text(annotation: Any, text: str) -> object:
    """The value that TOML would have held; text that does not fit stays text, and validation then names it."""
    kinds = get_args(annotation) or (annotation,)
    if get_origin(annotation) is dict:
        pairs = [item.rpartition("=") for item in text.split(",") if item.strip()]
        return {key.strip(): value.strip() for key, _, value in pairs} if all(sign for _, sign, _ in pairs) else text
    if get_origin(annotation) in (list, tuple):
        return [item.strip() for item in text.split(",") if item.strip()]
    if bool in kinds:
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(
            text.strip().lower(), text
        )
    if int in kinds:
        try:
            return int(text)
        except ValueError:
            return text
    return text


def _locate(document: dict[str, Any], path: Path, sources: Mapping[tuple[str, ...], str]) -> list[Mistake]:
    """Paths of the file are made relative to its folder, and those that the file leaves out are put in."""
    server = document.setdefault("server", {})
    if not isinstance(server, dict):
        return []
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
        return []
    # Absolute, as the server goes on with it wherever it is; ".." is taken off in words only, where no link can lead
    # elsewhere.
    data_dir = Path(os.path.normpath(path.parent.resolve() / written))
    server["data_dir"] = str(data_dir)
    return _passed_over(path, written, data_dir)


def _passed_over(path: Path, written: str, data_dir: Path) -> list[Mistake]:
    """Versions before took the data folder from the current folder: nobody goes on with an empty ledger beside a full
    one.
    """
    before = Path(written).absolute()
    if (
        data_dir.exists()
        or before.resolve() == data_dir.resolve()
        or not any((before / name).exists() for name in OURS)
    ):
        return []
    return [
        Mistake(
            str(path),
            "server.data_dir",
            repr(written),
            f"is {data_dir}, which does not exist, as it is relative to the settings file; versions before took it "
            "from the current "
            f"folder, and {before} has the data of a server: write {str(before)!r}, or make {data_dir} if you want "
            "an empty ledger",
        )
    ]


def _mistakes(
    path: Path, sources: Mapping[tuple[str, ...], str], entry: dict[str, Any], document: dict[str, Any]
) -> list[Mistake]:
    cause = entry.get("ctx", {}).get("error")
    if not isinstance(cause, Misfits):
        return [replace(_mistake(path, sources, entry), peer=_peer(document, entry["loc"]))]
    return [
        Mistake(
            *_where(path, sources, location), "" if value is None else repr(value), reason, _peer(document, location)
        )
        for location, value, reason in cause.found
    ]


def _peer(document: dict[str, Any], location: tuple[Any, ...]) -> str:
    """Origin-Host of the [[peer]] that a key stands in, but where that is what is wrong."""
    if len(location) < 3 or location[0] != "peer" or location[2] == "origin_host":
        return ""
    return str(document["peer"][location[1]].get("origin_host", ""))


def _where(path: Path, sources: Mapping[tuple[str, ...], str], location: tuple[Any, ...]) -> tuple[str, str]:
    """Place and key."""
    variable = sources.get(tuple(str(part) for part in location[:2]))
    return ("environment", variable) if variable else (str(path), _dotted(location))


def _mistake(path: Path, sources: Mapping[tuple[str, ...], str], entry: dict[str, Any]) -> Mistake:
    location = tuple(entry["loc"])
    place, key = _where(path, sources, location)
    allowed = _allowed(location)
    if entry["type"] == "extra_forbidden":
        return Mistake(place, key, "", f"is no setting; there are {_siblings(location)}")
    if entry["type"] == "missing":
        return Mistake(place, key, "", f"is missing; allowed: {allowed}" if allowed else "is missing")
    value = _SECRET.sub("://***@", repr(entry["input"])) if not isinstance(entry["input"], dict) else ""
    reason = str(entry["msg"]).removeprefix("Value error, ")
    return Mistake(place, key, value, f"{reason}; allowed: {allowed}" if allowed else reason)


def _dotted(location: tuple[Any, ...]) -> str:
    text = ""
    for part in location:
        if part == KEY_ITSELF:
            continue
        name = f"[{part}]" if isinstance(part, int) else part if _BARE.fullmatch(part) else f'"{part}"'
        text += name if isinstance(part, int) or not text else f".{name}"
    return text


def _walk(location: tuple[Any, ...]) -> tuple[type[BaseModel] | None, str]:
    """The model that holds the last named part of the location, and what the nearest field allows."""
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
