"""Transfers of credit in groups (HOT-GRP-2): exact, once, to the right account; none is on its way at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from simulator.audit_timeline import Record
from simulator.differences import Difference
from simulator.price_sheet import MICRO

CEILING_MICRO_EUR = 200 * MICRO
"""Of an account's credit (HOT-ACC-7)."""
OUT, IN, BACK = "transfer_out", "transfer_in", "transfer_back"


def of_transfer(transfer: str, records: Sequence[Record]) -> Iterator[Difference]:
    """`records`: of one transfer."""
    sent = [record for record in records if record["kind"] == OUT]
    ended = [record for record in records if record["kind"] != OUT]
    events = tuple(str(record["event_id"]) for record in records)
    account = str((sent or ended)[0]["account"])

    def differs(expected: str, charged: str, why: str) -> Difference:
        return Difference("HOT-GRP-2", account, "", "", events, expected, charged, f"transfer {transfer}: {why}")

    if len(sent) != 1:
        yield differs("sent once", f"sent {len(sent)} times", "credit comes from one sender")
        return
    (out,) = sent
    amount, receiver = int(out["debit_micro_eur"]), str(out.get("to_account", ""))
    if not ended:
        yield differs(
            f"{amount} micro-EUR in account {receiver}, or back", "neither", "nothing is on its way at the end"
        )
    if len(ended) > 1:
        kinds = " and ".join(str(record["kind"]) for record in ended)
        yield differs("one end", kinds, "it arrives or comes back, once")
    for end in ended:
        moved = int(end.get("credit_in_micro_eur", 0)) + int(end.get("expired_micro_eur", 0))
        if moved != amount:
            yield differs(f"{amount} micro-EUR", f"{moved}", "what arrives or comes back is what was sent")
        expected = receiver if end["kind"] == IN else str(out["account"])
        if end["account"] != expected:
            yield differs(f"account {expected}", f"account {end['account']}", "it arrives where it was sent to")
        if end["kind"] == IN and end.get("group") != out.get("group"):
            yield differs(f"group {out.get('group')}", f"group {end.get('group')}", "both are in one group")
        if end["kind"] == IN and int(end.get("credit_micro_eur", 0)) > CEILING_MICRO_EUR:
            credit = f"credit of {end['credit_micro_eur']} micro-EUR"
            yield differs(f"at most {CEILING_MICRO_EUR} micro-EUR", credit, "no transfer lifts an account over 200 EUR")
