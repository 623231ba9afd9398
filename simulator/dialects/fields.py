"""Fields of a dialect file: what a request may say of itself, its subscriber, place and use."""

from __future__ import annotations

import re

FIELD = re.compile(r"\{(\w+)\}")
SERVICES = "{services}"
"""Stands for one Multiple-Services-Credit-Control for each service of the request."""

FIELDS = {
    # of the connection
    "origin_host": "Origin-Host of the element",
    "origin_realm": "its realm",
    "destination_realm": "the server's realm",
    "server_host": "the server's Origin-Host; none before its first answer",
    "state_id": "Origin-State-Id; none = the element sends none",
    # of the request
    "session_id": "Session-Id",
    "type": "CC-Request-Type",
    "number": "CC-Request-Number",
    "at": "Event-Timestamp",
    "requested_action": "0 in an EVENT, else none",
    "termination_cause": "1 in a TERMINATION, else none",
    "seconds": "seconds since the session's request before",
    "services": "the services: see `service`",
    # of subscriber and place
    "msisdn": "digits of the MSISDN",
    "imsi": "digits of the IMSI",
    "plmn": "MCC and MNC of the serving network",
    "location": "3GPP-User-Location-Info: an ECGI in that network",
    "rat": "3GPP-RAT-Type",
    "visited_network": "domain name of the visited IMS",
    "switch": "E.164 digits of the serving switch",
    "switch_tbcd": "the same as telephony BCD",
    # of the use
    "charging_id": "3GPP-Charging-Id",
    "size": "octets of a multimedia message",
    "other": "digits of the other party",
    "role": "Role-Of-Node: 0 originating, 1 terminating, 2 forwarding",
    "mode": "Service-Mode of a call that the subscriber forwards, else none",
    "requested": "tel URI of the subscriber, who was called and forwards the call; else none",
    "calling": "tel URI of the calling party",
    "called": "tel URI of the called party",
    "calling_number": "its digits",
    "called_number": "its digits",
    # of one service
    "rating_group": "Rating-Group",
    "service_identifier": "the dialect's Service-Identifier",
    "used": "units used",
    "up": "an eighth of them",
    "down": "the others",
    "wanted": "units requested",
    "reason": "Reporting-Reason",
    "used_after": "units used after a tariff change; `used` is then what was used before it",
    "triggers": "Trigger-Types that made the client report, an AVP each",
}
"""Name → what it is."""
OF_A_SERVICE = frozenset(("rating_group", "used", "up", "down", "wanted", "reason", "used_after", "triggers"))


def tel(number: str) -> str:
    """A tel URI: global numbers with a plus, short ones (112, 1918) as dialled."""
    return f"tel:{number}" if len(number) < 7 else f"tel:+{number}"


def tbcd(digits: str) -> bytes:
    """Telephony BCD: low nibble first, F fills (TS 29.002 §17.7.8)."""
    padded = digits + "F" * (len(digits) % 2)
    return bytes(int(padded[at + 1] + padded[at], 16) for at in range(0, len(padded), 2))


def ecgi(plmn: str, cell: int = 0x0123AB01) -> bytes:
    """3GPP-User-Location-Info with an ECGI in this network (TS 29.061 §16.4.7.2, type 129). `cell`: 28 bits."""
    mcc, mnc = plmn[:3], plmn[3:]
    third = mnc[2] if len(mnc) == 3 else "F"
    coded = bytes(int(pair, 16) for pair in (mcc[1] + mcc[0], third + mcc[2], mnc[1] + mnc[0]))
    return b"\x81" + coded + cell.to_bytes(4, "big")


def visited_network(plmn: str) -> str:
    """Domain name of an operator's IMS (TS 23.003 §13.2)."""
    return f"ims.mnc{plmn[3:].zfill(3)}.mcc{plmn[:3]}.3gppnetwork.org"
