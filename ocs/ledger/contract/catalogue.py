"""The catalogue's versions as the ledger keeps them: loaded for all who read them or for none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from ocs.catalogue.versions import StoredVersion
from ocs.values.products import PackageTerms

ACCEPT_AHEAD_S = 6
"""A version begins so much after it was accepted at the earliest: every reader has heard of it by then."""
READER_STALE_S = 3.0
"""A reader that could not look for so long charges nothing: a version that it does not know may be in force soon.
The rest up to ACCEPT_AHEAD_S is for clocks that differ.
"""
READER_GONE_S = 5
"""A reader that was silent so long does not charge by what it knew: nobody waits for its answer."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A version that is to be loaded. `version.begins_at` 0 = ACCEPT_AHEAD_S after it is accepted."""

    id: str
    version: StoredVersion


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of an offer. "lapsed": it took too long, or was withdrawn. "late": it would begin too soon."""

    word: Literal["ok", "readers", "late", "lapsed"] | str
    begins_at: int = 0
    readers: int = 0
    missing: Mapping[str, str] = field(default_factory=dict)
    """Readers that have not said yes → why not; "" = they have not answered."""


@dataclass(frozen=True, slots=True)
class CatalogueFiles:
    """What the catalogue's file, or folder, says; it may change between two starts."""

    digest: str
    """Of versions and beginnings."""
    versions: tuple[str, ...]
    longest_grant_s: int
    """The longest `validity_s`."""


class CatalogueLedger(Protocol):
    """LedgerUnavailable as everywhere."""

    async def set_terms(self, products: Mapping[str, Sequence[tuple[int, PackageTerms]]]) -> None:
        """Replace the terms of all products in all partitions: by Unix time from which they are in force, rising.
        A period that starts has those in force then; a product that is not there those it was bought by (HOT-PKG-11).
        """

    async def look_at_catalogue(self, reader: str) -> tuple[str, str]:
        """Say that the reader is there; revision of the versions ("" = none were ever loaded), id of an offer or ""."""

    async def leave_catalogue(self, reader: str) -> None: ...

    async def exchange_catalogue_files(self, files: CatalogueFiles) -> CatalogueFiles | None:
        """Note what the files of a process that starts say. Returns what was noted last; None = nothing was."""

    async def catalogue_versions(self) -> tuple[str, list[StoredVersion]]:
        """Revision and versions, in the order in which they begin."""

    async def catalogue_offer(self) -> Offer | None: ...

    async def answer_offer(self, offer_id: str, reader: str, answer: str) -> None:
        """ "ok", or why the reader cannot use it."""

    async def offer_catalogue(self, offer: Offer) -> bool:
        """False = another version is being loaded."""

    async def accept_offer(
        self, offer: Offer, *, beside: Sequence[StoredVersion] = (), dropped: Sequence[str] = ()
    ) -> Accepted:
        """Keep the version, if all readers can use it. `beside`: versions to be kept too; `dropped`: not any more."""

    async def withdraw_offer(self, offer_id: str) -> None: ...
