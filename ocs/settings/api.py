"""The settings of the HTTP API: the table [api]."""

from __future__ import annotations

import ssl
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from ocs.settings.base import CombinationError, PathText, Section, is_loopback, parse_listen

MAX_ORIGINS = 64


def _listen_or_off(text: str) -> str:
    if text:
        parse_listen(text)
    return text


def _origin(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc or text != f"{parts.scheme}://{parts.netloc}":
        raise ValueError("is no origin such as https://shop.example.net")
    return text


class ApiSection(Section):
    """The HTTP API (docs/API.md)."""

    listen: Annotated[str, AfterValidator(_listen_or_off)] = Field(
        default="127.0.0.1:8080", description='host:port (port 0 = any free port); "" = no API'
    )
    """Address of the API. Beyond loopback it needs `certificate` and `key`, or `plain`."""
    certificate: PathText = Field(default="", description="a PEM file")
    """Certificate of the API and its chain: it then speaks HTTPS only. Read again at SIGHUP."""
    key: PathText = Field(default="", description="a PEM file")
    """Private key of `certificate`."""
    plain: bool = Field(default=False, description="true or false")
    """True = plain HTTP beyond loopback, because a proxy before it ends TLS: keys travel in every request."""
    origins: list[Annotated[str, AfterValidator(_origin)]] = Field(
        default_factory=list,
        max_length=MAX_ORIGINS,
        description=f"up to {MAX_ORIGINS} origins such as https://shop.example.net",
    )
    """Web pages of other origins that browsers let call the API (CORS); [] = none."""
    requests_per_s: int = Field(default=100, ge=1, le=100_000, description="1 to 100000")
    """Requests of one key in a second, on average; further ones get 429."""
    burst: int = Field(default=200, ge=1, le=1_000_000, description="1 to 1000000")
    """Requests that a key which was idle may send at once."""
    max_body_octets: int = Field(default=1_048_576, ge=1_024, le=16_777_216, description="1024 to 16777216 octets")
    """A longer request body gets 413."""
    max_connections: int = Field(default=1_000, ge=1, le=100_000, description="1 to 100000")
    """Connections of the API. A further one takes the place of one whose client is silent; else it gets 503."""

    @model_validator(mode="after")
    def _tls_files(self) -> ApiSection:
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key are needed together")
        if self.certificate:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key)
            except (OSError, ssl.SSLError) as error:
                why = f"cannot be used with its key: {error.strerror or error}"
                raise CombinationError([(("api", "certificate"), self.certificate, why)]) from error
        return self

    @model_validator(mode="after")
    def _not_in_clear(self) -> ApiSection:
        if self.listen and not self.certificate and not self.plain and not is_loopback(parse_listen(self.listen)[0]):
            why = (
                "keys would travel in clear beyond loopback: name a certificate and its key, or set plain = true if a "
                "proxy before it ends TLS"
            )
            raise CombinationError([(("api", "listen"), self.listen, why)])
        return self
