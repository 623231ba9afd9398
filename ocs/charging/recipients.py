"""Whom a message is for: one recipient or several (TS 32.299 §7.2.170A Recipient-Info, §7.2.170 Recipient-Address)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from protocol.credit_control import MmsInformation, RecipientAddress, SmsInformation

MSISDN, NUMERIC, ALPHANUMERIC, IMSI = 1, 4, 5, 7
"""Address-Type (TS 32.299 §7.2.5)."""
_PREFERRED = {MSISDN: 0, NUMERIC: 1, ALPHANUMERIC: 2, IMSI: 9}
_ANY_OTHER = 3
MAX_RECIPIENTS = 64
"""Of one message, each with a price of its own: as many services as a session may have."""


def of_sms(sms: SmsInformation) -> tuple[str, ...]:
    """A Recipient-Info is one recipient, in one form or several; addresses of one type are several recipients."""
    return _distinct(address for info in sms.recipient_info for address in _of_best_type(info.recipient_address))


def of_mms(mms: MmsInformation) -> tuple[str, ...]:
    """Each Recipient-Address is a recipient: To, Cc and Bcc alike."""
    return _distinct(address.address_data for address in mms.recipient_address if address.address_data)


def _of_best_type(addresses: Sequence[RecipientAddress]) -> list[str]:
    """A number goes before a name, and anything before an IMSI, which no price is known for."""
    if len(addresses) == 1:
        return [addresses[0].address_data] if addresses[0].address_data else []
    ranked = [(_rank(address), address.address_data) for address in addresses if address.address_data]
    best = min((rank for rank, _ in ranked), default=0)
    return [data for rank, data in ranked if rank == best]


def _rank(address: RecipientAddress) -> int:
    return _PREFERRED.get(_ANY_OTHER if address.address_type is None else address.address_type, _ANY_OTHER)


def _distinct(addresses: Iterable[str]) -> tuple[str, ...]:
    """In their order, at most one more than are charged."""
    return tuple(dict.fromkeys(addresses))[: MAX_RECIPIENTS + 1]
