"""Business groups in the model ledger: membership, separate accounts, transfers (contract.groups)."""

from __future__ import annotations

from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.limits import MAX_TRANSFERS_PER_ACCOUNT
from ocs.ledger.contract.views import TransferView
from ocs.ledger.redis.keys import uid_of
from ocs.values.exact import MAX_INTEGER
from ocs.values.money import CREDIT_CEILING_MICRO_EUR
from tests.ocs.ledger import model_agenda as agenda
from tests.ocs.ledger.model_accounts import Accounts
from tests.ocs.ledger.model_operation import LIFE, Operation


class Groups(Accounts):
    """Operations of groups, synchronous."""

    def __init__(self) -> None:
        super().__init__()
        self._decided: dict[tuple[str, int], str] = {}
        """What the receiver decided of a transfer, by the sender's uid and its number: "" = it has the money."""

    # -- membership

    def join_group(self, account_id: str, *, group_id: str, role: str, now: int, month: int, day: int = 0) -> bool:
        if self._account(account_id).state == "terminated":
            raise LedgerError("state", "")
        account = self._account(account_id)
        if (account.group, account.role) == (group_id, role):
            return False
        with self._changing(account_id, now, month, day) as op:
            if op.account.group not in ("", group_id):
                raise LedgerError("grouped", "")
            joined = not op.account.group and role == "member"
            op.account.group, op.account.role = group_id, role
            op.journal("group", group=group_id, state="joined" if joined else role)
        return True

    def leave_group(self, account_id: str, *, group_id: str, now: int, month: int, day: int = 0) -> bool:
        if self._account(account_id).group != group_id or not group_id:
            return False
        op = self._due(account_id, now, month, day)
        op.account.group = op.account.role = ""
        op.journal("group", group=group_id, state="left")
        self._after(op)
        return True

    def set_separate(self, account_id: str, *, is_open: bool, now: int, month: int, day: int = 0) -> bool:
        account = self._account(account_id)
        if account.state != "terminated" and account.has_separate == is_open:
            return False
        with self._changing(account_id, now, month, day) as op:
            account, moved = op.account, 0
            if not is_open and account.separate:
                if account.group:
                    raise LedgerError("separate", "")
                if account.credit + account.separate > CREDIT_CEILING_MICRO_EUR:
                    raise LedgerError("ceiling", "")
                moved, account.separate = account.separate, 0
                account.credit += moved
            account.has_separate = is_open
            for each in account.subscriptions:
                each.separate = each.separate and is_open
            amounts = {"separate_out": moved, "credit_in": moved} if moved else {}
            op.journal("separate", open=int(is_open), credit=account.credit, separate=account.separate, **amounts)
        return True

    # -- transfers

    def transfer(
        self,
        account_id: str,
        *,
        to: str,
        amount_micro_eur: int,
        group_id: str,
        reference: str,
        now: int,
        month: int,
        day: int = 0,
        with_promotional: bool = False,
    ) -> bool:
        claimed = f"transfer:{uid_of(account_id)}:{reference}"
        known = claimed in self._references
        sent = self.begin_transfer(
            account_id,
            to=to,
            amount_micro_eur=amount_micro_eur,
            group_id=group_id,
            reference=reference,
            now=now,
            month=month,
            day=day,
            with_promotional=with_promotional,
        )
        if sent is None:
            return False
        refused = self.continue_transfer(account_id, sent, now=now, month=month, day=day)
        if refused:
            if not known:
                del self._references[claimed]
            raise LedgerError(refused, "")
        return True

    def begin_transfer(
        self,
        account_id: str,
        *,
        to: str,
        amount_micro_eur: int,
        group_id: str,
        reference: str,
        now: int,
        month: int,
        day: int = 0,
        with_promotional: bool = False,
    ) -> TransferView | None:
        if not 1 <= amount_micro_eur <= MAX_INTEGER:
            raise LedgerError("range", "")
        claimed, purpose = f"transfer:{uid_of(account_id)}:{reference}", (uid_of(to), amount_micro_eur)
        if self._references.get(claimed, purpose) != purpose:
            raise LedgerError("reference", "")
        account = self._account(account_id)
        if ("transfer", account.uid, reference) in self._applied:
            return next((each for each in account.transfers if each.reference == reference), None)
        with self._changing(account_id, now, month, day) as op:
            account = op.account
            if not account.group or account.group != group_id:
                raise LedgerError("group", "")
            if account.state_at(now) != "active":
                raise LedgerError("state", "")
            if len(account.transfers) >= MAX_TRANSFERS_PER_ACCOUNT:
                raise LedgerError("transfers", "")
            kept = max(account.held, 0 if with_promotional else account.promotional)
            if amount_micro_eur > account.credit - kept:
                raise LedgerError("funds", "")
            promotional = min(amount_micro_eur, account.promotional) if with_promotional else 0
            op.low_credit |= account.credit - amount_micro_eur < LIFE.low_credit_micro_eur <= account.credit
            account.credit -= amount_micro_eur
            account.promotional -= promotional
            account.sent += amount_micro_eur
            account.last_instance += 1
            role = "member" if account.role == "administrator" else "administrator"
            sent = TransferView(
                account.last_instance, to, amount_micro_eur, promotional, reference, group_id, role, now
            )
            account.transfers.append(sent)
            op.journal(
                "transfer_out",
                promo=promotional,
                transfer=f"{account.uid.partition('-')[2]}-{sent.instance}",
                to=to,
                group=group_id,
                ref=reference,
                debit=amount_micro_eur,
                credit=account.credit,
            )
        self._references[claimed] = purpose
        self._applied.add(("transfer", account.uid, reference))
        return sent

    def continue_transfers(
        self, account_id: str, *, before: int, now: int, month: int, day: int = 0
    ) -> list[tuple[TransferView, str]]:
        account = self.accounts.get(account_id)
        found = sorted(each for each in account.transfers if each.at <= before) if account is not None else []
        return [(each, self.continue_transfer(account_id, each, now=now, month=month, day=day)) for each in found]

    def continue_transfer(self, account_id: str, transfer: TransferView, *, now: int, month: int, day: int = 0) -> str:
        account_id = self._now_at(account_id)
        key = (self.accounts[account_id].uid, transfer.instance)
        if key not in self._decided:
            self._decided[key] = self._deliver(account_id, transfer, now, month, day)
        refused = self._decided[key]
        if transfer not in self.accounts[account_id].transfers:
            return refused
        op = self._due(account_id, now, month, day)
        account = op.account
        account.transfers.remove(transfer)
        if refused:
            self._give_back(op, transfer, refused)
        self._after(op)
        return refused

    def _give_back(self, op: Operation, transfer: TransferView, refused: str) -> None:
        account, amount, expired = op.account, transfer.amount_micro_eur, op.account.state == "terminated"
        account.sent -= amount
        if expired:
            account.expired += amount
        else:
            account.credit += amount
            account.promotional += transfer.promotional_micro_eur
        self._applied.discard(("transfer", account.uid, transfer.reference))
        op.journal(
            "transfer_back",
            promo=0 if expired else transfer.promotional_micro_eur,
            transfer=f"{account.uid.partition('-')[2]}-{transfer.instance}",
            to=transfer.to,
            group=transfer.group,
            ref=transfer.reference,
            reason=refused,
            credit=account.credit,
            **({"expired": amount} if expired else {"credit_in": amount}),
        )

    def _deliver(self, account_id: str, transfer: TransferView, now: int, month: int, day: int) -> str:
        receiver = self._now_at(transfer.to)
        account = self.accounts.get(receiver)
        if account is None or account.state == "terminated":
            return "state"
        op = Operation(self, receiver, now, month, day)
        op.begin()
        agenda.run(op)
        account = op.account
        refused = ""
        if now >= account.active_until + LIFE.inactive_s:
            refused = "state"
        elif (account.group, account.role) != (transfer.group, transfer.role):
            refused = "group"
        elif account.credit + transfer.amount_micro_eur > CREDIT_CEILING_MICRO_EUR:
            refused = "ceiling"
        if refused:
            op.take_back()
            return refused
        account.credit += transfer.amount_micro_eur
        account.received += transfer.amount_micro_eur
        account.promotional += transfer.promotional_micro_eur
        op.journal(
            "transfer_in",
            promo=transfer.promotional_micro_eur,
            transfer=f"{uid_of(account_id)}-{transfer.instance}",
            of=account_id,
            group=transfer.group,
            ref=transfer.reference,
            credit_in=transfer.amount_micro_eur,
            credit=account.credit,
        )
        self._after(op)
        return ""

    def _now_at(self, account_id: str) -> str:
        while account_id in self.moved:
            account_id = self.moved[account_id]
        return account_id
