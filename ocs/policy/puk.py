"""PUK1 of a SIM: what is stored of it, and whether an entry is right (HOT-GRP-1). Pure: the caller gives the salt.

A PUK1 has 8 digits (3GPP TS 31.101 §9.5), few enough to be tried all. So it is stored by scrypt (RFC 7914), with a salt
of its own, and the ledger bounds wrong entries (`limits.MAX_PUK_TRIES`).
"""

from __future__ import annotations

import hashlib
import hmac

PUK_PATTERN = r"[0-9]{8}"
COST, BLOCK_SIZE, PARALLEL = 2**13, 8, 1
"""8 MB and about 20 ms an entry."""
SALT_OCTETS = 16
DIGEST_OCTETS = 32


def digest(puk: str, salt: str) -> str:
    """Hexadecimal. `salt`: hexadecimal, SALT_OCTETS."""
    made = hashlib.scrypt(puk.encode(), salt=bytes.fromhex(salt), n=COST, r=BLOCK_SIZE, p=PARALLEL, dklen=DIGEST_OCTETS)
    return made.hex()


def is_right(puk: str, salt: str, stored: str) -> bool:
    return hmac.compare_digest(digest(puk, salt), stored)
