"""What a subscriber is told: the notices of all events of an account so far, in words."""

from __future__ import annotations

from typing import Any

from ocs.catalogue.catalogue import Catalogue
from ocs.catalogue.versions import Catalogues
from ocs.ledger.contract.events import OutboxEvent
from ocs.notices.compiled import Notices
from ocs.notices.fields import Recipient, recipient_of
from ocs.outbox.format import record
from tests.ocs.rules.world import Subscriber


def version_of(catalogue: Catalogue | Catalogues) -> Catalogue:
    return catalogue if isinstance(catalogue, Catalogue) else catalogue.in_force()


async def said(user: Subscriber, language: str = "", *names: str) -> list[tuple[str, str]]:
    """(name, text) of each, in order; with `names` only those."""
    notices = Notices(version_of(user.world.catalogue))
    recipient = recipient_of(await user.view())
    if language:
        recipient = Recipient(recipient.msisdn, language, recipient.active_until, recipient.facts)
    records: list[dict[str, Any]] = [
        record(OutboxEvent(0, number, event)) for number, event in enumerate(await user.journal(), 1)
    ]
    told = [each for one in records for each in notices.told(one, recipient)]
    return [(each.notice.name, each.text) for each in told if not names or each.notice.name in names]


async def texts(user: Subscriber, name: str) -> list[tuple[str, str]]:
    """(Slovene, English) of each notice of that name."""
    slovene, english = [await said(user, language, name) for language in ("sl", "en")]
    return [(one, other) for (_, one), (_, other) in zip(slovene, english, strict=True)]
