"""Types shared by the sections of the settings: validated texts, and a model that rejects unknown keys."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9][A-Za-z0-9_-]{0,62})*")


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of "127.0.0.1:3868" or "[::1]:3868". ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or int(port) > 65535:
        raise ValueError("is not host:port")
    if host.startswith("[") != host.endswith("]") or (":" in host and not host.startswith("[")):
        raise ValueError("an IPv6 address must stand in brackets")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether `host` is a loopback address or localhost. Other names are not resolved and count as remote."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(text: str) -> str:
    parse_listen(text)
    return text


def _identity(text: str) -> str:
    """DiameterIdentity (RFC 6733 §4.3.1): a fully qualified domain name."""
    if not _HOST_NAME.fullmatch(text):
        raise ValueError("is not a domain name")
    return text


def _network(text: str) -> str:
    ipaddress.ip_network(text)
    return text


RELATIVE_TO_FILE = "relative to the settings file"
"""Marks a path. In the file it is relative to the file's folder, in the environment to the current folder."""
PathText = Annotated[str, RELATIVE_TO_FILE]
Listen = Annotated[str, AfterValidator(_listen)]
Identity = Annotated[str, AfterValidator(_identity)]
Network = Annotated[str, AfterValidator(_network)]


class CombinationError(ValueError):
    """Values that contradict each other. `found`: (location within the model, value or None if absent, reason)."""

    def __init__(self, found: list[tuple[tuple[str | int, ...], object, str]]) -> None:
        super().__init__("; ".join(reason for _, _, reason in found))
        self.found = found


class Section(BaseModel):
    """A table of the file. Unknown keys and values of another type are errors; it is read-only."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)
