"""What an audit from outside finds: each difference with account, session, records, rule, and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass

HIDDEN_DIGITS = 3
"""Of a number, as in itemised use (HOT-REC-1)."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something charged, told or moved otherwise than the rules say."""

    rule: str
    """The operator's rule (docs/RULES.md)."""
    account: str
    """Its id in the ledger."""
    msisdn: str
    """Its number, masked; "" = not known."""
    session: str
    records: tuple[str, ...]
    """Event ids of the charging records that it is about."""
    expected: str
    charged: str
    why: str

    def text(self) -> str:
        number = f" ({self.msisdn})" if self.msisdn else ""
        about = f", session {self.session}" if self.session else ""
        records = f", {' '.join(self.records)}" if self.records else ""
        return (
            f"{self.rule}: account {self.account}{number}{about}{records}: expected {self.expected}; recorded"
            f" {self.charged}: {self.why}"
        )

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def masked(msisdn: str) -> str:
    """ "38668100xxx"."""
    return msisdn[:-HIDDEN_DIGITS] + "x" * min(len(msisdn), HIDDEN_DIGITS) if msisdn else ""
