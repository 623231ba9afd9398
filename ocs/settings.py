"""Settings of the server: one TOML file, overridden by environment variables, validated whole before anything starts.

Every mistake is reported at once as place (file or variable), key, value and what is allowed. Unknown keys are
mistakes too.

- `OCS_<SECTION>_<KEY>` overrides `[section] key`, e.g. OCS_REDIS_URL, OCS_DIAMETER_LISTEN (a list is comma-separated).
- `server.data_dir` is relative to the current folder; `server.catalogue` and the files of `[tls]` are relative to the folder of the
  file that names them (to the current folder when they come from the environment).
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from ocs.settings_base import Misfits
from ocs.settings_model import Settings

ENVIRONMENT_PREFIX = "OCS_"
CONFIG_VARIABLE = "OCS_CONFIG"
"""Names the settings file itself, for the command line."""
DEFAULT_CONFIG = Path("config/ocs.toml")
MAX_CONFIG_OCTETS = 4 * 1024 * 1024
"""A settings file larger than this is not one (64 kB would do for a thousand peers)."""

_SECRET = re.compile(r"://[^@/]*@")


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong, in words for the person who has to put it right."""

    place: str
    key: str
    value: str
    allowed: str

    def __str__(self) -> str:
        given = f" = {self.value}" if self.value else ""
        return f"{self.place}: {self.key}{given}: {self.allowed}"


class SettingsError(Exception):
    """The settings cannot be used; `mistakes` has all of them."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = mistakes


def load_settings(path: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of `path` with the overrides of `environment` (default: this process's)."""
    environment = os.environ if environment is None else environment
    document = _read(path)
    sources, mistakes = _override(document, environment)
    _relative_to_file(document, path, sources)
    try:
        settings = Settings.model_validate(document)
    except ValidationError as error:
        for entry in error.errors():
            mistakes += _mistakes(path, sources, dict(entry))
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
            raise SettingsError([Mistake(place, "file", "", f"is larger than {MAX_CONFIG_OCTETS} octets")])
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError([Mistake(place, "file", "", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise SettingsError([Mistake(place, "file", "", f"is not UTF-8 text: {error.reason}")]) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([Mistake(place, "file", "", f"is not TOML: {error}")]) from error


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


def _relative_to_file(document: dict[str, Any], path: Path, sources: Mapping[tuple[str, ...], str]) -> None:
    tls = document.get("tls")
    if isinstance(tls, dict):
        for key, name in tls.items():
            if isinstance(name, str) and name and ("tls", key) not in sources:
                tls[key] = str(path.parent / name)
    if ("server", "catalogue") in sources:
        return
    server = document.setdefault("server", {})
    if isinstance(server, dict):
        catalogue = server.get("catalogue", "catalogue.toml")
        if isinstance(catalogue, str) and catalogue:
            server["catalogue"] = str(path.parent / catalogue)


def _mistakes(path: Path, sources: Mapping[tuple[str, ...], str], entry: dict[str, Any]) -> list[Mistake]:
    cause = entry.get("ctx", {}).get("error")
    if not isinstance(cause, Misfits):
        return [_mistake(path, sources, entry)]
    return [
        Mistake(*_where(path, sources, location), "" if value is None else repr(value), reason)
        for location, value, reason in cause.found
    ]


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
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "file"


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
