"""The rating input of a request: what is used, where and towards whom, by service context.

TS 32.251 (data), 32.260 and 32.276 (calls), 32.274 (SMS), 32.270 (MMS); their AVPs: TS 32.299 §7.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

from ocs.charging import recipients
from ocs.charging.location import SM_SUBMISSION, Unreadable, locate
from ocs.charging.members import CONTENT, DATA, MMS, ORIGINATING, SMS
from ocs.values.use import Context, Direction, UseEvent
from protocol.credit_control import CreditControlRequest, ImsInformation, ServiceInformation

ROLE_TERMINATING, ROLE_FORWARDING = 1, 2
"""Role-Of-Node (TS 32.299 §7.2.168)."""
MMTEL_DIVERSION = 6
"""MMTel-SService-Type of communication diversion (TS 32.275)."""
MM_RETRIEVAL = 5
_MESSAGES = (SMS, MMS)
_SEPARATOR = "\x1f"
"""Separates the parts of an encoded usage context."""
_PLACE_PARTS = 6
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
        several recipients is counted is known from the CCR-I only.
        """
        if self.by_handset or not self.located or self.context in _MESSAGES:
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
            self.emergency,
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
        where.emergency = emergency == "1"
        if several:
            where.other_party, where.recipients = several[0], several
            where.counted_once = len(party) - len(party.lstrip(_NEXT_RECIPIENT))
        return where


@lru_cache(PLACES_KEPT)
def _texts(
    context: Context, direction: Direction, emergency: bool, plmn: str, number: str, apn: str, party: str
) -> tuple[str, str]:
    """`UsageContext.detail` and `UsageContext.encode`."""
    apn, party = apn[:MAX_TEXT], party if _NEXT_RECIPIENT in party else party[:MAX_TEXT]
    towards = apn if context is DATA else party
    parts = (direction.value, "1" if emergency else "", plmn, number, apn, party)
    place = _SEPARATOR.join(parts)
    if place.count(_SEPARATOR) >= len(parts):
        place = _SEPARATOR.join([part.replace(_SEPARATOR, "") for part in parts])
    return f"{plmn or number} {direction.value} {towards}".rstrip(), place


def usage_context_of(context: Context, request: CreditControlRequest, forwarding_role: bool = True) -> UsageContext:
    """The usage context of a request. `forwarding_role`: this peer sends Role-Of-Node 2 for a forwarded leg (TS 32.299
    §7.2.168).
    """
    where = _use(context, request, forwarding_role)
    found = locate(context, request)
    if found.plmn is not None:
        where.serving_plmn = found.plmn[0]
    if found.number is not None:
        where.visited_number = found.number[0]
    where.by_handset, where.unreadable_location = found.by_handset, found.unreadable
    return where


def _use(context: Context, request: CreditControlRequest, forwarding_role: bool) -> UsageContext:
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
    return _call(context, information, forwarding_role)


def _data(request: CreditControlRequest) -> UsageContext:
    information = request.service_information
    ps = information.ps_information if information is not None else None
    if ps is None:
        return UsageContext(DATA, ORIGINATING, request.called_station_id)
    where = UsageContext(DATA, ORIGINATING, ps.called_station_id or request.called_station_id)
    where.emergency = ps.imsi_unauthenticated_flag == 1
    return where


def _call(context: Context, information: ServiceInformation, forwarding_role: bool) -> UsageContext:
    ims = information.ims_information
    direction, party, emergency, says_direction = ORIGINATING, None, False, True
    if ims is not None:
        direction, party = _leg(ims, forwarding_role)
        says_direction = ims.role_of_node is not None
        if direction is ORIGINATING and _diverted(information):
            direction, says_direction = Direction.FORWARDED, True
        emergency = ims.ims_emergency_indicator == 1 or (party or "").lower().startswith("urn:service:sos")
    return UsageContext(
        context,
        direction=direction,
        other_party=party,
        emergency=emergency,
        says_direction=says_direction,
    )


def _leg(ims: ImsInformation, forwarding_role: bool) -> tuple[Direction, str | None]:
    """Direction of the call for the paying party, and the other party."""
    if ims.role_of_node == ROLE_TERMINATING:
        return Direction.TERMINATING, ims.calling_party_address[0] if ims.calling_party_address else None
    forwarded = forwarding_role and ims.role_of_node == ROLE_FORWARDING
    return Direction.FORWARDED if forwarded else ORIGINATING, ims.called_party_address


def _diverted(information: ServiceInformation) -> bool:
    """Whether MMTel-Information marks the leg as diverted (TS 32.275)."""
    mmtel = information.mmtel_information
    return mmtel is not None and any(
        service.mmtel_service_type == MMTEL_DIVERSION and (service.number_of_diversions or 0) > 0
        for service in mmtel.supplementary_service
    )


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
