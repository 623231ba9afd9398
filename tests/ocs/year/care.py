"""What care does on a line: lost SIMs, other numbers, freezing, paying out, measures. Each also onto paper."""

from __future__ import annotations

from collections.abc import Awaitable

from ocs.accounts.errors import AccountError
from ocs.accounts.inputs import Reference
from ocs.accounts.life import LifeOperations
from ocs.policy.life import BlockReason, PayOut
from ocs.values.identities import Imsi, Msisdn
from ocs.values.measures import AccountMeasure, MeasureKind
from simulator.paper_products import LIFE_S
from tests.ocs.year.line import Line

SURCHARGE = "fair-use-surcharge"


class Care:
    def __init__(self, line: Line) -> None:
        self.line = line
        self.life = LifeOperations(line.desk, line.world.ledger, line.world.catalogue, lambda: line.world.now)

    def _reference(self, what: str) -> Reference:
        return Reference(f"{what}-{self.line.msisdn}-{self.line.now}")

    async def _done(self, operation: Awaitable[object]) -> bool:
        """False = it was refused: the account is over, or its credit does not cover the fee."""
        now = self.line.now
        try:
            await operation
        except AccountError as error:
            self.line.paper.pass_time(now)
            over = self.line.paper.terminated or now >= self.line.paper.active_until + LIFE_S
            poor = error.code == "credit" and self.line.paper.credit < 5_000_000
            assert over or poor or error.code == "state" or not self.line.on_paper, error
            return False
        return True

    async def lost(self) -> None:
        """HOT-ACC-11: blocked until there is another SIM."""
        now = self.line.now
        if await self._done(self.life.block(self.line.msisdn, reason=BlockReason.LOST)):
            self.line.paper.block(now, "lost")

    async def another_sim(self) -> None:
        line, now = self.line, self.line.now
        imsi = Imsi(str(int(line.imsi) + 500_000))
        if await self._done(self.life.swap_sim(line.msisdn, imsi=imsi, reference=self._reference("sim"))):
            line.imsi = imsi
            line.paper.fee(now, "SIM-REPLACEMENT")
            line.paper.lift(now, "lost")

    async def another_number(self) -> None:
        line, now = self.line, self.line.now
        new = Msisdn(str(int(line.msisdn) + 500_000))
        if await self._done(self.life.change_number(line.msisdn, new=new)):
            line.msisdn = new
            line.paper.pass_time(now)

    async def freeze(self) -> None:
        now = self.line.now
        if await self._done(self.life.freeze(self.line.msisdn, reference=self._reference("freeze"))):
            self.line.paper.fee(now, "FREEZE")
            self.line.paper.block(now, "frozen")

    async def unfreeze(self) -> None:
        now = self.line.now
        if "frozen" in self.line.paper.blocks and await self._done(
            self.life.unfreeze(self.line.msisdn, reference=self._reference("unfreeze"))
        ):
            self.line.paper.fee(now, "UNFREEZE")
            self.line.paper.lift(now, "frozen")

    async def another_owner(self) -> None:
        now = self.line.now
        if await self._done(self.life.transfer_ownership(self.line.msisdn, reference=self._reference("owner"))):
            self.line.paper.fee(now, "OWNERSHIP-CHANGE")

    async def pay_out(self) -> None:
        """HOT-ACC-10: only while it is inactive."""
        line, now = self.line, self.line.now
        line.paper.pass_time(now)
        try:
            paid = await self.life.pay_out(line.msisdn, reason=PayOut.INACTIVE, reference=self._reference("out"))
        except AccountError as error:
            assert error.code == "nothing" or line.paper.state(now) != "inactive" or not line.on_paper, error
            return
        on_paper = line.paper.pay_out(now)
        assert paid.micro_eur == on_paper or not line.on_paper

    async def port_out(self) -> None:
        now = self.line.now
        if await self._done(self.life.port_out(self.line.msisdn, reference=self._reference("port"))):
            self.line.paper.port_out(now)

    async def surcharge(self, days: int) -> None:
        """HOT-ROA-8: a measure of care, with a reason and an end."""
        line, now = self.line, self.line.now
        until = now + days * 86_400
        measure = AccountMeasure(MeasureKind.FACT, SURCHARGE, "resale", now, until)
        if not await self._done(line.desk.set_measure(line.msisdn, measure=measure)):
            return
        line.paper.pass_time(now)
        line.by_care = True
        await line.clock.until(until)
        line.by_care = False
