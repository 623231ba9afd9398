"""Automatic top-ups and payment orders in the model ledger (contract.payments.PaymentLedger)."""

from __future__ import annotations

from dataclasses import replace

from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.payments import OPEN, OrderKind, OrderResult, OrderState, PaymentOrder, account_of
from ocs.values.money import CREDIT_CEILING_MICRO_EUR
from tests.ocs.ledger import model_agenda as agenda
from tests.ocs.ledger.model_accounts import Accounts
from tests.ocs.ledger.model_operation import LIFE, Operation

TEN_DAYS_S = 864_000
KEPT_ORDERS = 64
OPEN_ORDERS = 8


class Payments(Accounts):
    def __init__(self) -> None:
        super().__init__()
        self.taken: dict[tuple[str, str], int] = {}
        """Taken back of a returned payment, by account and order."""

    def set_auto_top_up(self, account_id: str, *, below_micro_eur: int, now: int, month: int, day: int = 0) -> bool:
        account = self._account(account_id)
        if account.auto_below == below_micro_eur and account.state != "terminated":
            return False
        with self._changing(account_id, now, month, day) as op:
            account = op.account
            account.auto_below, account.auto_failures, account.auto_asked = below_micro_eur, 0, False
            self.asked.pop(account_id, None)
            state = "on" if below_micro_eur else "off"
            op.journal("auto_top_up", state=state, credit=account.credit, below=below_micro_eur)
            if not below_micro_eur:
                self._cancel_unsent(op)
        return True

    def asked_at(self, account_id: str, *, now: int, month: int) -> bool:
        return self.asked.get(account_id, now + 1) <= now

    def order_top_up(
        self, account_id: str, *, order: PaymentOrder, later_s: int, now: int, month: int, day: int = 0
    ) -> OrderResult:
        if self._account(account_id).state == "terminated":
            raise LedgerError("state", "")
        op = Operation(self, account_id, now, month, day)
        op.begin()
        agenda.run(op)
        account, orders = op.account, sorted(self.orders.get(account_id, {}).values(), key=_made)
        under_way = [each for each in orders if each.state in OPEN]
        automatic = [each for each in under_way if each.kind is OrderKind.AUTOMATIC]
        recent = [each for each in account.auto_debits if now < each[1] + TEN_DAYS_S]
        soon: int | None = None
        if not account.auto_below:
            word = "off"
        elif account.credit >= account.auto_below:
            self.asked.pop(account_id, None)
            self._after(op)
            return OrderResult("enough")
        elif automatic:
            word, soon = "open", now + later_s
        elif account.state_at(now) != "active":
            word, soon = "inactive", now + later_s
        elif len(recent) > 1:
            word, soon = "limit", recent[-2][1] + TEN_DAYS_S
        elif account.credit + order.amount_micro_eur + _sum(under_way) > CREDIT_CEILING_MICRO_EUR:
            word, soon = "ceiling", now + later_s
        elif len(under_way) == OPEN_ORDERS:
            word, soon = "orders", now + later_s
        else:
            word, soon = "ok", now + later_s
            account.auto_debits = [*recent, (order.id, now, False)]
            order = self._add(op, order)
        self.asked.pop(account_id, None)
        if soon is not None:
            self.asked[account_id] = soon
        if word != "ok":
            op.take_back()
            return OrderResult(word, automatic[-1] if word == "open" else None)
        self._after(op)
        return OrderResult("ok", order)

    def order_one_off(self, account_id: str, *, order: PaymentOrder, now: int, month: int, day: int = 0) -> OrderResult:
        account = self._account(account_id)
        if account.state == "terminated":
            raise LedgerError("state", "")
        orders = list(self.orders.get(account_id, {}).values())
        same = [each for each in orders if each.reference == order.reference]
        if same:
            return OrderResult("again", same[0])
        op = Operation(self, account_id, now, month, day)
        op.begin()
        agenda.run(op)
        under_way, word = [each for each in orders if each.state in OPEN], ""
        if now >= op.account.active_until + LIFE.inactive_s:
            op.take_back()
            raise LedgerError("state", "")
        if op.account.credit + order.amount_micro_eur + _sum(under_way) > CREDIT_CEILING_MICRO_EUR:
            word = "ceiling"
        elif len(under_way) == OPEN_ORDERS:
            word = "orders"
        if word:
            op.take_back()
            return OrderResult(word)
        order = self._add(op, order)
        self._after(op)
        return OrderResult("ok", order)

    def _add(self, op: Operation, order: PaymentOrder) -> PaymentOrder:
        order = replace(order, at=op.now, changed_at=op.now, due=op.now, state=OrderState.ORDERED, version=1)
        orders = self.orders.setdefault(op.account_id, {})
        if len(orders) == KEPT_ORDERS:
            ended = [each for each in orders.values() if each.state not in OPEN]
            del orders[min(ended, key=lambda each: (each.changed_at, *_made(each))).id]
        orders[order.id] = order
        _tell(op, order)
        return order

    def _cancel_unsent(self, op: Operation) -> None:
        orders = self.orders.get(op.account_id, {})
        for each in sorted(orders.values(), key=_made):
            if (each.kind, each.state, each.tries) == (OrderKind.AUTOMATIC, OrderState.ORDERED, 0):
                ended = replace(each, state=OrderState.FAILED, reason="off", due=0, changed_at=op.now)
                orders[each.id] = replace(ended, version=each.version + 1)
                _tell(op, ended)
                op.account.auto_debits = [debit for debit in op.account.auto_debits if debit[0] != each.id]

    def order_failed(
        self,
        account_id: str,
        *,
        order_id: str,
        released: bool,
        later_s: int,
        most: int,
        now: int,
        month: int,
        day: int = 0,
    ) -> bool:
        counted = [each for each in self._account(account_id).auto_debits if each[0] == order_id and not each[2]]
        if not counted:
            return False
        op = self._due(account_id, now, month, day)
        account = op.account
        if released:
            account.auto_debits.remove(counted[0])
        else:
            place = account.auto_debits.index(counted[0])
            account.auto_debits[place] = (order_id, counted[0][1], True)
        account.auto_failures += 1
        if account.auto_asked and account.state != "terminated":
            if account.auto_failures >= most:
                self.asked.pop(account_id, None)
                op.journal("auto_top_up", state="given_up", credit=account.credit, below=account.auto_below)
            else:
                self.asked[account_id] = now + later_s * account.auto_failures
        self._after(op)
        return True

    def take_back(
        self, account_id: str, *, order: PaymentOrder, reason: str, block: str, now: int, month: int, day: int = 0
    ) -> int:
        account = self._account(account_id)
        done = self.taken.get((account.uid, order.id))
        if done is not None:
            return done
        op = self._due(account_id, now, month, day)
        account = op.account
        credit = ("top_up", account.uid, order.credit_reference)
        credited = order.state is OrderState.CREDITED or credit in self._applied
        self._applied.add(credit)
        taken = min(order.amount_micro_eur, account.credit - account.promotional) if credited else 0
        account.credit -= taken
        account.refunded += taken
        unpaid = order.amount_micro_eur - taken if credited else 0
        op.journal(
            "payment_returned",
            order=order.id,
            amount=order.amount_micro_eur,
            debit=taken,
            **({"unpaid": unpaid} if unpaid else {}),
            credit=account.credit,
            reason=reason,
        )
        if account.auto_below:
            account.auto_below, account.auto_asked = 0, False
            self.asked.pop(account_id, None)
            op.journal("auto_top_up", state="off", credit=account.credit, below=0)
            self._cancel_unsent(op)
        if credited and block and account.state != "terminated":
            agenda.block(op, block)
        self.taken[account.uid, order.id] = taken
        self._after(op)
        if account.state == "blocked":
            op.abort("state")
        return taken

    def store_order(
        self, account_id: str, order: PaymentOrder, *, told: bool, now: int, month: int, day: int = 0
    ) -> PaymentOrder | None:
        """`account_id`: whose turn it is in the walk; the order says itself whose it is."""
        orders = self.orders[account_of(order.id)]
        if orders[order.id].version != order.version:
            return None
        orders[order.id] = replace(order, version=order.version + 1, changed_at=now)
        if told:
            _tell(Operation(self, account_id, now, month, day), order)
        return orders[order.id]


def _made(order: PaymentOrder) -> tuple[int, str]:
    return order.at, order.id


def _sum(orders: list[PaymentOrder]) -> int:
    return sum(each.amount_micro_eur for each in orders)


def _tell(op: Operation, order: PaymentOrder) -> None:
    op.journal(
        "payment",
        order=order.id,
        state=order.state.value,
        channel=order.kind.value,
        amount=order.amount_micro_eur,
        reason=order.reason,
        payer=order.payer,
    )
