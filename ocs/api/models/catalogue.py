"""Versions of the catalogue, their differences, the price of a use."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ocs.api.models.common import Answer, Body, Eur, MsisdnField, Time
from ocs.policy.forwarding import Diversion
from ocs.values.use import Direction

MAX_CATALOGUE_LENGTH = 150_000
"""Characters. In JSON one may take 6 octets: the body stays within the default of `api.max_body_octets`."""
MAX_PRODUCTS = 32
DIVERSIONS = [mode.name.lower() for mode in Diversion]


class Version(Answer):
    """A version of the catalogue."""

    version: str
    valid_from: Time | None = Field(description="null = from the beginning.")
    in_force: bool
    loaded_by: str | None = Field(description="Who loaded it into the ledger; null = it is of the settings' files.")
    loaded_at: Time | None


class Draft(Body):
    """A draft of a catalogue."""

    catalogue: str = Field(max_length=MAX_CATALOGUE_LENGTH, description="Text of the file (TOML).")


class CatalogueProblem(Answer):
    """A mistake in a catalogue."""

    key: str
    value: str
    allowed: str


class Checked(Answer):
    """Whether a draft can be loaded."""

    ok: bool
    version: str | None
    problems: list[CatalogueProblem]
    illustrative: list[str] = Field(description="Keys whose values are examples.")


class Compare(Body):
    """A version, and what it is compared with."""

    version: str | None = Field(default=None, max_length=64, description="The old one; null = the one in force.")
    with_version: str | None = Field(default=None, max_length=64, description="The new one, if it is a version.")
    draft: str | None = Field(default=None, max_length=MAX_CATALOGUE_LENGTH, description="The new one, as a draft.")


class Difference(Answer):
    """A key that differs."""

    kind: str = Field(description="added, removed or changed")
    key: str
    before: Any
    after: Any
    percent: str | None


class RateRequest(Body):
    """A use whose price is asked for. Nothing is charged."""

    msisdn: MsisdnField | None = Field(default=None, description="Account that would pay, as it stands now.")
    products: list[str] = Field(
        default_factory=list, max_length=MAX_PRODUCTS, description="Without an account: products that it has."
    )
    service: str | None = Field(default=None, max_length=64, description="Of the catalogue; null = voice.")
    amount: str | None = Field(
        default=None,
        max_length=32,
        description='Units or a quantity: "125", "2 min", "5 MB"; null = a minute, a MB or a message.',
    )
    to: str = Field(default="", max_length=64, description="Called party; of incoming use the other party.")
    at: Time | None = Field(default=None, description="null = now. Without an offset: the operator's time zone.")
    from_plmn: str | None = Field(
        default=None, pattern=r"^[0-9]{5,6}$", description="Serving network, MCC and MNC.", examples=["22003"]
    )
    direction: Direction = Field(default=Direction.ORIGINATING, description="Outgoing, incoming, forwarded.")
    diversion: str = Field(
        default="cfu", pattern=f"^({'|'.join(DIVERSIONS)})$", description="How the call was forwarded (HOT-RAT-7)."
    )
    draft: str | None = Field(
        default=None, max_length=MAX_CATALOGUE_LENGTH, description="Rate with this draft of a catalogue (TOML)."
    )


class Rated(Answer):
    """What a use costs, and why."""

    granted: int = Field(description="Units of the use that can be paid.")
    refused: str | None
    credit: Eur = Field(description="From credit.")
    fees: Eur = Field(description="Prices of packs that the use starts.")
    bucket_units: dict[str, int]
    steps: list[dict[str, Any]]
