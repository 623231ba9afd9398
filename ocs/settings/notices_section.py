"""The section [notices]: how texts for subscribers leave (HOT-NOT-1). The texts are in the catalogue."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from ocs.settings.base import Section


class NoticesSection(Section):
    """How notices are sent (docs/NOTICES.md)."""

    port: Literal["off", "log", "webhook"] = Field(default="log", description='"off", "log" or "webhook"')
    """Where notices leave. "log": the file notices.jsonl in data_dir, for trials. "off": none is sent."""
    url: str = Field(default="", max_length=2000, description="an http or https URL; only of the webhook")
    """The SMS gateway that gets each notice by POST."""
    secret: str = Field(default="", max_length=200, description='at most 200 characters; "" = nothing is signed')
    """Signs what is sent, and receipts must be signed with it. Set it by OCS_NOTICES_SECRET."""
    timeout_s: int = Field(default=10, ge=1, le=60, description="1 to 60 seconds")
    """How long the gateway may take."""
    concurrency: int = Field(default=8, ge=1, le=64, description="1 to 64")
    """Most notices that are being sent at a time."""
    rate_per_s: int = Field(default=20, ge=1, le=1000, description="1 to 1000")
    """Most notices a second."""
    attempts: int = Field(default=8, ge=1, le=20, description="1 to 20")
    """After so many a notice is given up; the pauses between them double, from 10 s to an hour."""
    max_per_account: int = Field(default=20, ge=1, le=1000, description="1 to 1000")
    """Notices of one account that may wait; further ones are not sent."""
    max_waiting: int = Field(default=100_000, ge=100, le=10_000_000, description="100 to 10000000")
    """Notices that may wait in all; further ones are not sent."""
    keep_days: int = Field(default=120, ge=1, le=400, description="1 to 400 days")
    """How long notices are kept, with number and text."""

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
            raise ValueError("is no http or https URL")
        return url
