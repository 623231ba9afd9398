"""The recipients of a message (TS 32.299 §7.2.170A Recipient-Info, §7.2.170 Recipient-Address)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from protocol.credit_control import MmsInformation, RecipientAddress, SmsInformation

MSISDN, NUMERIC, ALPHANUMERIC, IMSI = 1, 4, 5, 7
"""Address-Type (TS 32.299 §7.2.5)."""
_PREFERRED = {MSISDN: 0, NUMERIC: 1, ALPHANUMERIC: 2, IMSI: 9}
_ANY_OTHER = 3
MAX_RECIPIENTS = 64
"""Recipients of one message. Each is a service, and a session has as many at most."""


def of_sms(sms: SmsInformation) -> tuple[str, ...]:
    """Each Recipient-Info is one recipient, in one form or several; addresses of one type are several recipients."""
    return _distinct(address for info in sms.recipient_info for address in _of_best_type(info.recipient_address))


def of_mms(mms: MmsInformation) -> tuple[str, ...]:
    """Each Recipient-Address is a recipient: To, Cc and Bcc alike."""
    return _distinct(address.address_data for address in mms.recipient_address if address.address_data)


def _of_best_type(addresses: Sequence[RecipientAddress]) -> list[str]:
    """The addresses of the preferred type: numbers first, then names, and last the IMSI, which has no price."""
    if len(addresses) == 1:
        return [addresses[0].address_data] if addresses[0].address_data else []
    ranked = [(_rank(address), address.address_data) for address in addresses if address.address_data]
    best = min((rank for rank, _ in ranked), default=0)
    return [data for rank, data in ranked if rank == best]


def _rank(address: RecipientAddress) -> int:
    return _PREFERRED.get(_ANY_OTHER if address.address_type is None else address.address_type, _ANY_OTHER)


def _distinct(addresses: Iterable[str]) -> tuple[str, ...]:
    """In order, at most one more than MAX_RECIPIENTS: enough to refuse the request."""
    return tuple(dict.fromkeys(addresses))[: MAX_RECIPIENTS + 1]
