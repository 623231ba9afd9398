"""Loading a version of the catalogue into a ledger that is in use: for every process that charges, or for none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from ocs.accounts.errors import RefusedError
from ocs.catalogue.catalogue import Catalogue, parse_catalogue
from ocs.catalogue.problems import CatalogueError, Problem
from ocs.catalogue.reading import read_text
from ocs.catalogue.versions import (
    MAX_VERSIONS,
    NEVER,
    Catalogues,
    StoredVersion,
    content_digest,
    merge,
    version_files,
)
from ocs.ledger.contract.catalogue import ACCEPT_AHEAD_S, Accepted, CatalogueLedger, Offer

WAIT_S = 30.0
"""How long the processes are given to answer; one that is killed meanwhile lapses within a few seconds."""
KNOWN_TO_ALL_S = int(WAIT_S) + ACCEPT_AHEAD_S
"""After the load was asked for, every process knows the version, or it is refused."""
LOOK_S = 0.2
KEPT_S = 400 * 86_400
"""A version out of force is kept so long: records of 13 months name it."""
NEEDED_S = 35 * 86_400
"""So long it is needed by sessions and packages. Until then it is kept even if there are MAX_VERSIONS."""


@dataclass(frozen=True, slots=True)
class Loaded:
    name: str
    begins_at: int
    readers: int
    """Processes that can use it."""
    again: bool = False
    """It had been loaded before: nothing was changed."""
    old_prices_until: int = 0
    """Unix time until which grants may last that were given before and keep their price; 0 = none lasts so long."""


class CatalogueVersions:
    """`files`: the versions of the settings' files. `now`: Unix seconds. `nonce`: a text that no other load has."""

    def __init__(
        self,
        ledger: CatalogueLedger,
        folder: Path,
        files: Sequence[Catalogue],
        now: Callable[[], int],
        nonce: Callable[[], str],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._ledger = ledger
        self._folder = folder
        self._files = files
        self._now = now
        self._nonce = nonce
        self._pause = pause

    async def load(self, file: Path, *, at_once: bool, by: str) -> Loaded:
        """Load the file's version for all readers. It begins at its `valid_from`, when all grants have ended that were
        given before all readers knew it; or (`at_once`) in ACCEPT_AHEAD_S, and such grants keep their price.

        CatalogueError: the file is wrong, contradicts the other versions, or begins too soon. RefusedError:
        "readers" (a process cannot use it), "loading" (another load is under way), "late", "lapsed". Then nothing is
        changed.
        """
        text = read_text(file, str(file))
        catalogue = parse_catalogue(text, str(file))
        revision, stored = await self._ledger.catalogue_versions()
        digest = content_digest(catalogue)
        for known in stored:
            if known.name == catalogue.version and known.digest == digest:
                return Loaded(known.name, known.begins_at, 0, again=True)
        begins_at = self._beginning(file, catalogue, stored, at_once=at_once)
        version = StoredVersion(catalogue.version, text, begins_at, self._now(), by, digest)
        self._check_together(file, version, stored, catalogue)
        dropped = self._superfluous(stored)
        offer = Offer(self._nonce(), replace(version, begins_at=0) if at_once else version)
        if not await self._ledger.offer_catalogue(offer):
            raise RefusedError("loading", "another version is being loaded: try again in a minute")
        try:
            if (await self._ledger.catalogue_versions())[0] != revision:  # no other is accepted during the offer
                raise RefusedError("loading", "another version was loaded just now: nothing was changed; try again")
            accepted = await self._wait(offer, self._beside(stored), dropped)
        except BaseException:
            await self._ledger.withdraw_offer(offer.id)
            raise
        if accepted.word != "ok":
            await self._ledger.withdraw_offer(offer.id)
            raise RefusedError(accepted.word, _why(accepted))
        await self.write_terms()
        last = self._known(stored).grants_end_by(self._now()) if at_once else 0
        return Loaded(version.name, accepted.begins_at, accepted.readers, old_prices_until=last)

    async def write_terms(self) -> None:
        """The terms of all products, into all partitions. Whoever follows the versions does it too."""
        _, stored = await self._ledger.catalogue_versions()
        await self._ledger.set_terms(self._known(stored).product_terms())

    def _known(self, stored: Sequence[StoredVersion]) -> Catalogues:
        return Catalogues(merge(self._files, ((each, each.compiled()) for each in stored)), self._now)

    def _beginning(self, file: Path, catalogue: Catalogue, stored: Sequence[StoredVersion], *, at_once: bool) -> int:
        """Unix seconds; of `at_once` about."""
        if at_once:
            return self._now() + ACCEPT_AHEAD_S
        general = catalogue.tables.general
        said = general.valid_from if general else ""
        key = "catalogue.valid_from"
        if not said:
            allowed = "is missing: from when on does it hold? --now: at once"
            raise CatalogueError([Problem(str(file), key, "", allowed)])
        if catalogue.begins_at < self._now() + ACCEPT_AHEAD_S:
            allowed = "must be in the future: what was used since then is charged already. --now: it begins at once"
            raise CatalogueError([Problem(str(file), key, repr(said), allowed)])
        earliest = self._known(stored).grants_end_by(self._now() + KNOWN_TO_ALL_S)
        if catalogue.begins_at < earliest:
            when = datetime.fromtimestamp(earliest, catalogue.time_zone).isoformat()
            allowed = f"must be {when} or later: grants of the old prices may last until then. --now: it begins at once"
            raise CatalogueError([Problem(str(file), key, repr(said), f"{allowed}, and they keep their prices")])
        return catalogue.begins_at

    def _check_together(
        self, path: Path, version: StoredVersion, stored: Sequence[StoredVersion], catalogue: Catalogue
    ) -> None:
        others = [(each, each.compiled()) for each in stored]
        file = next((each for each in self._files if each.version == version.name), None)
        if any(each.name == version.name for each in stored) or (
            file is not None and content_digest(file) != version.digest
        ):
            allowed = "there is a version of this name that says otherwise: give each version a name of its own"
            raise CatalogueError([Problem(str(path), "catalogue.version", repr(version.name), allowed)])
        try:
            merge(self._files, [*others, (version, catalogue)])
        except CatalogueError as error:
            own = f"version {version.name}"
            named = [replace(each, file=str(path)) if each.file == own else each for each in error.problems]
            raise CatalogueError(named) from None

    def _beside(self, stored: Sequence[StoredVersion]) -> list[StoredVersion]:
        """Versions of the files, which the ledger does not have yet: records name them."""
        known = {each.name for each in stored}
        found = []
        for path in version_files(self._folder):
            text = read_text(path, str(path))
            catalogue = parse_catalogue(text, str(path))
            if catalogue.version not in known:
                digest = content_digest(catalogue)
                version = StoredVersion(catalogue.version, text, catalogue.begins_at, self._now(), f"{path}", digest)
                found.append(version)
        return found

    def _superfluous(self, stored: Sequence[StoredVersion]) -> list[str]:
        """Names of versions that are out of force for long, so that at most MAX_VERSIONS stay."""
        ends = [*(each.begins_at for each in stored), NEVER][1:]
        dropped = []
        left = len(stored) + 1 + len(self._beside(stored))
        for version, end in zip(stored, ends, strict=True):
            if end < self._now() - KEPT_S or (left > MAX_VERSIONS and end < self._now() - NEEDED_S):
                dropped.append(version.name)
                left -= 1
        if left > MAX_VERSIONS:
            raise RefusedError("versions", f"there would be {left} versions, at most {MAX_VERSIONS} are kept")
        return dropped

    async def _wait(self, offer: Offer, beside: Sequence[StoredVersion], dropped: Sequence[str]) -> Accepted:
        """Until every reader has answered, or one cannot use it."""
        beside = [each for each in beside if each.name != offer.version.name]
        waited = 0.0
        while True:
            accepted = await self._ledger.accept_offer(offer, beside=beside, dropped=dropped)
            refused = any(accepted.missing.values())
            if accepted.word != "readers" or refused or waited >= WAIT_S:
                return accepted
            await self._pause(LOOK_S)
            waited += LOOK_S


def _why(accepted: Accepted) -> str:
    if accepted.word == "late":
        return "the version would begin before every process can have it: nothing was changed; load it with --now"
    if accepted.word == "lapsed":
        return "loading took too long: nothing was changed; try again"
    said = [f"{reader}: {why or 'does not answer'}" for reader, why in sorted(accepted.missing.items())]
    return "nothing was changed, as not every process can use this version\n" + "\n".join(said)
