"""The subscriber ids of a request: "m" + MSISDN or "i" + IMSI (RFC 8506 §8.46–8.47).

SIP URI, tel URI and NAI are accepted if their user part is a number. In a domain that names a network, a number that
begins with the network's MCC and MNC is an IMSI, any other an MSISDN (TS 23.003 §13.4B, §14.3, §19.3).
"""

from __future__ import annotations

from urllib.parse import unquote

from ocs.catalogue.place import plmns_of_domain
from ocs.settings.profile import Ranges
from ocs.values.identities import received_subscriber_id
from protocol.credit_control import CreditControlRequest, SubscriptionIdExtension
from protocol.errors import DiameterError, ResultCode

E164, IMSI, SIP_URI, NAI, PRIVATE = range(5)
_IMSI_DIGITS = 15
_SCHEMES = ("sips:", "sip:", "tel:")
_PADDING = " \t\0"
"""Characters that some clients pad a field with."""
_INTERNATIONAL = "00"
"""International dialling prefix; no E.164 number begins with 0."""
_WITHOUT_SEPARATORS = str.maketrans("", "", "-.()")
"""Visual separators of a telephone number (RFC 3966 §5.1.1)."""
_IMS_DOMAIN = ".3gppnetwork.org"


class ForeignSubscriberError(DiameterError):
    """The peer may not charge this subscriber."""

    def __init__(self) -> None:
        super().__init__(ResultCode.AUTHORIZATION_REJECTED, "this peer may not charge this subscriber")


def within(identity: str, ranges: Ranges) -> bool:
    """Whether the subscriber id begins with a prefix of each range."""
    return all(identity.startswith(each) for each in ranges)


def identities(request: CreditControlRequest) -> list[str]:
    """The subscriber ids of the request, MSISDNs first; [] = it has none that can be read."""
    given = request.subscription_id
    if not given and request.service_information is not None:
        given = request.service_information.subscription_id
    found: list[str] = []
    for each in given:
        if identity := _identity(each.subscription_id_type, each.subscription_id_data):
            found.append(identity)
    if request.subscription_id_extension:
        for extension in request.subscription_id_extension:
            found.extend(_from_extension(extension))
    if len(found) > 1 and found[0][0] == "i":
        found.sort(key=_is_imsi)
    return found


def _is_imsi(identity: str) -> bool:
    return identity[0] == "i"


def has_subscriber(request: CreditControlRequest) -> bool:
    """Whether the request names a subscriber, readable or not."""
    information = request.service_information
    return bool(
        request.subscription_id
        or request.subscription_id_extension
        or (information is not None and information.subscription_id)
    )


def _from_extension(extension: SubscriptionIdExtension) -> list[str]:
    pairs = (
        (E164, extension.subscription_id_e164),
        (IMSI, extension.subscription_id_imsi),
        (SIP_URI, extension.subscription_id_sip_uri),
        (NAI, extension.subscription_id_nai),
    )
    return [identity for kind, data in pairs if data and (identity := _identity(kind, data))]


def _identity(kind: int, data: str) -> str | None:
    data = data.strip(_PADDING)
    if kind == E164:
        return received_subscriber_id("m", data[1:] if data.startswith("+") else data.removeprefix(_INTERNATIONAL))
    if kind == IMSI:
        return received_subscriber_id("i", data)
    if kind == SIP_URI:
        return _of_uri(data)
    if kind == NAI:
        return _of_nai(data)
    return None


def _of_nai(data: str) -> str | None:
    """An IMSI, with or without the leading digit for the authentication method (TS 23.003 §14.3, §19.3), or an MSISDN
    in an IMS domain.
    """
    user, _, domain = data.partition("@")
    plmns = plmns_of_domain(domain)
    if not plmns:
        return received_subscriber_id("i", user[1:] if len(user) > _IMSI_DIGITS else user)
    if user.startswith(plmns):
        return received_subscriber_id("i", user)
    return received_subscriber_id("i", user[1:]) if user[1:].startswith(plmns) else received_subscriber_id("m", user)


def identity_of_party(party: str) -> str | None:
    """Subscriber id of a calling or called party: SIP URI, tel URI or number; None = it has none."""
    return _of_uri(party.strip(_PADDING))


def _of_uri(uri: str) -> str | None:
    """`sip:+386…;phone-context=…:password@host;…`, `tel:+386-…` (RFC 3261 §19.1, RFC 3966 §3)."""
    scheme = next((each for each in _SCHEMES if uri[: len(each)].lower() == each), "")
    user, _, host = uri[len(scheme) :].partition("@")
    user = user.partition(":")[0].partition(";")[0]
    number = (unquote(user) if "%" in user else user).translate(_WITHOUT_SEPARATORS)
    if number.startswith("+"):
        return received_subscriber_id("m", number[1:])
    domain = host.partition(";")[0].partition(":")[0].lower()
    if not domain.endswith(_IMS_DOMAIN):
        return received_subscriber_id("m", number)
    plmns = plmns_of_domain(domain)
    return received_subscriber_id("i" if not plmns or number.startswith(plmns) else "m", number)
