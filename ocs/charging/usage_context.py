"""The rating input of a request: what is used, where and towards whom, by service context.

TS 32.251 (data), 32.260 and 32.276 (calls), 32.274 (SMS), 32.270 (MMS); their AVPs: TS 32.299 §7.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

from ocs.charging import recipients
from ocs.charging.diversion import is_forwarded, is_late_diversion
from ocs.charging.location import SM_SUBMISSION, Unreadable, locate
from ocs.charging.members import CONTENT, DATA, FORWARDED, MMS, ORIGINATING, SMS
from ocs.settings.profile import STANDARD, Profile
from ocs.values.use import Context, Direction, UseEvent
from protocol.credit_control import CreditControlRequest, ServiceInformation

ROLE_TERMINATING = 1
"""Role-Of-Node (TS 32.299 §7.2.168)."""
MM_RETRIEVAL = 5
_MESSAGES = (SMS, MMS)
_SEPARATOR = "\x1f"
"""Separates the parts of an encoded usage context."""
_PLACE_PARTS = 6
_LATE = "l"
"""Stands in the second part of a call that was forwarded late."""
_NEXT_RECIPIENT = "\x1e"
"""Separates several recipients in the last part. `UsageContext.counted_once` of them come before the first one."""
MAX_RECIPIENT_TEXT = 64
"""Characters of a recipient that are encoded, if there are several."""
PLACES_KEPT = 8_192
"""Encoded usage contexts cached (about 0.5 kB each). Data needs a few tens, each call has its own."""
MAX_TEXT = 255
"""Characters of an APN or address that are encoded; real ones are shorter."""


@dataclass(slots=True)
class UsageContext:
    """Where, how and when the services of a request are used."""

    context: Context
    direction: Direction = Direction.ORIGINATING
    apn: str | None = None
    serving_plmn: str | None = None
    visited_number: str | None = None
    other_party: str | None = None
    """The first of several recipients."""
    emergency: bool = False
    at: int = 0
    """When the use takes place, in Unix seconds."""
    says_direction: bool = True
    """The request itself tells the direction."""
    by_handset: bool = field(default=False, compare=False)
    """Only the handset gave the location. It does not change a known location of the session."""
    unreadable_location: Unreadable | None = field(default=None, compare=False)
    """The network gave a location that cannot be read."""
    recipients: tuple[str, ...] = ()
    """All recipients, if the message has several; else ()."""
    counted_once: int = 0
    """Units last requested by a client that counts a message to several recipients once (`several`); 0 = it counts each
    recipient.
    """
    late: bool = False
    """Of a forwarded call: it was routed to the phone first (`ocs.policy.forwarding`)."""
    facts: str = field(default="", compare=False)
    """Words of the account that pays (`UseEvent.facts`)."""
    _texts: tuple[str, str] | None = field(default=None, init=False, repr=False, compare=False)
    """Cached result of `texts`."""

    @property
    def located(self) -> bool:
        return self.serving_plmn is not None or self.visited_number is not None

    @property
    def complete(self) -> bool:
        """Nothing has to be filled in from the session. Updates may leave out what has not changed; how a message to
        several recipients is counted, and how a call was forwarded, is known from the CCR-I only.
        """
        if self.by_handset or not self.located or self.context in _MESSAGES or self.direction is FORWARDED:
            return False
        if self.context is DATA:
            return self.apn is not None
        return self.says_direction and self.other_party is not None

    def completed(self, known: UsageContext) -> UsageContext:
        """Fill in what the request leaves out from `known`, an earlier request's context. Changes and returns self."""
        self._texts = None
        if not self.located or (self.by_handset and known.located):
            self.serving_plmn, self.visited_number = known.serving_plmn, known.visited_number
        if self.apn is None:
            self.apn = known.apn
        if self.other_party is None or not self.says_direction:
            self.other_party, self.direction = known.other_party or self.other_party, known.direction
        if known.recipients or (self.recipients and known.other_party):
            self.other_party, self.direction = known.other_party, known.direction
            self.recipients, self.counted_once = known.recipients, known.counted_once
        if known.direction is FORWARDED:
            self.direction, self.late = FORWARDED, known.late
        self.emergency = self.emergency or known.emergency
        return self

    def event(self, rating_group: int | None, service_identifier: int | None) -> UseEvent:
        return UseEvent(
            self.context,
            self.direction,
            rating_group,
            service_identifier,
            self.apn,
            self.serving_plmn,
            self.visited_number,
            self.other_party,
            self.at,
            self.emergency,
            self.facts,
        )

    def detail(self) -> str:
        """For the record: where, which way, towards whom (HOT-REC-2)."""
        return (self._texts or self.texts())[0]

    def encode(self) -> str:
        """Everything but the time, as the text that the ledger stores with the session. The ledger reads its second
        part: an emergency stays one, though later requests need not say so.
        """
        return (self._texts or self.texts())[1]

    def texts(self) -> tuple[str, str]:
        """`detail` and `encode`. Equal contexts share one tuple, so its `id` may be a cache key."""
        if self._texts is not None:
            return self._texts
        self._texts = texts = _texts(
            self.context,
            self.direction,
            "1" if self.emergency else _LATE if self.late else "",
            self.serving_plmn or "",
            self.visited_number or "",
            self.apn or "",
            self._parties(),
        )
        return texts

    def _parties(self) -> str:
        if self.recipients:
            parties = [each.replace(_NEXT_RECIPIENT, "")[:MAX_RECIPIENT_TEXT] for each in self.recipients]
            return _NEXT_RECIPIENT * self.counted_once + _NEXT_RECIPIENT.join(parties)
        party = self.other_party or ""
        return party.replace(_NEXT_RECIPIENT, "") if _NEXT_RECIPIENT in party else party

    def towards(self, recipient: str) -> UsageContext:
        """The same context with a single recipient."""
        return replace(self, other_party=recipient, recipients=())

    @classmethod
    def decode(cls, context: Context, place: str) -> UsageContext:
        """The context that `encode` wrote; an empty one if `place` has another form."""
        parts = place.split(_SEPARATOR)
        if len(parts) != _PLACE_PARTS:
            return cls(context)
        direction, emergency, plmn, number, apn, party = parts
        several = tuple(each for each in party.split(_NEXT_RECIPIENT) if each) if _NEXT_RECIPIENT in party else ()
        where = cls(context, Direction(direction), apn or None, plmn or None, number or None, party or None)
        where.emergency, where.late = emergency == "1", emergency == _LATE
        if several:
            where.other_party, where.recipients = several[0], several
            where.counted_once = len(party) - len(party.lstrip(_NEXT_RECIPIENT))
        return where


@lru_cache(PLACES_KEPT)
def _texts(
    context: Context, direction: Direction, manner: str, plmn: str, number: str, apn: str, party: str
) -> tuple[str, str]:
    """`UsageContext.detail` and `UsageContext.encode`. `manner`: "1" of an emergency, _LATE or ""."""
    apn, party = apn[:MAX_TEXT], party if _NEXT_RECIPIENT in party else party[:MAX_TEXT]
    towards = apn if context is DATA else party
    parts = (direction.value, manner, plmn, number, apn, party)
    place = _SEPARATOR.join(parts)
    if place.count(_SEPARATOR) >= len(parts):
        place = _SEPARATOR.join([part.replace(_SEPARATOR, "") for part in parts])
    return f"{plmn or number} {direction.value} {towards}".rstrip(), place


def usage_context_of(context: Context, request: CreditControlRequest, profile: Profile = STANDARD) -> UsageContext:
    """The usage context of a request. `profile` of the peer: how it marks forwarded legs."""
    where = _use(context, request, profile)
    found = locate(context, request)
    if found.plmn is not None:
        where.serving_plmn = found.plmn[0]
    if found.number is not None:
        where.visited_number = found.number[0]
    where.by_handset, where.unreadable_location = found.by_handset, found.unreadable
    return where


def _use(context: Context, request: CreditControlRequest, profile: Profile) -> UsageContext:
    """The usage context without its location."""
    if context is DATA:
        return _data(request)
    if context is CONTENT:
        return replace(_data(request), context=CONTENT)
    information = request.service_information
    if information is None:
        return UsageContext(context)
    if context is SMS:
        return _sms(information)
    if context is MMS:
        return _mms(information)
    return _call(context, request, information, profile)


def _data(request: CreditControlRequest) -> UsageContext:
    information = request.service_information
    ps = information.ps_information if information is not None else None
    if ps is None:
        return UsageContext(DATA, ORIGINATING, request.called_station_id)
    where = UsageContext(DATA, ORIGINATING, ps.called_station_id or request.called_station_id)
    where.emergency = ps.imsi_unauthenticated_flag == 1
    return where


def _call(
    context: Context, request: CreditControlRequest, information: ServiceInformation, profile: Profile
) -> UsageContext:
    ims = information.ims_information
    if ims is None:
        return UsageContext(context)
    where = UsageContext(context, other_party=ims.called_party_address, says_direction=ims.role_of_node is not None)
    if ims.role_of_node == ROLE_TERMINATING:
        where.direction = Direction.TERMINATING
        where.other_party = ims.calling_party_address[0] if ims.calling_party_address else None
    elif is_forwarded(request, information, profile):
        where.direction, where.says_direction = FORWARDED, True
        where.late = is_late_diversion(information, profile)
    sos = (where.other_party or "").lower().startswith("urn:service:sos")
    where.emergency = sos or ims.ims_emergency_indicator == 1
    return where


def _sms(information: ServiceInformation) -> UsageContext:
    sms = information.sms_information
    if sms is None:
        return UsageContext(SMS)
    if sms.sm_message_type in (None, SM_SUBMISSION):
        return _sent(SMS, recipients.of_sms(sms))
    originator = sms.originator_received_address
    return UsageContext(SMS, Direction.TERMINATING, other_party=originator.address_data if originator else None)


def _sent(context: Context, to: tuple[str, ...]) -> UsageContext:
    where = UsageContext(context, ORIGINATING, other_party=to[0] if to else None)
    if len(to) > 1:
        where.recipients = to
    return where


def _mms(information: ServiceInformation) -> UsageContext:
    mms = information.mms_information
    if mms is None:
        return UsageContext(MMS)
    if mms.message_type != MM_RETRIEVAL:
        return _sent(MMS, recipients.of_mms(mms))
    originator = mms.originator_address
    return UsageContext(MMS, Direction.TERMINATING, other_party=originator.address_data if originator else None)
