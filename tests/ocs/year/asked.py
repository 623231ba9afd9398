"""What a use is on the price sheet, and the country that it is used in."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.credit_control import ServiceInformation
from simulator.price_sheet import PriceSheet, Row, SheetError


@dataclass(frozen=True, slots=True)
class Asked:
    """What a use is priced by: a row for each leg."""

    service: str
    place: str
    direction: str = ""
    to: str = ""
    incoming_too: bool = False
    """A call forwarded late abroad: the incoming leg as well (HOT-RAT-7)."""

    @property
    def begins_life(self) -> bool:
        """Emergency calls and others that are always free are no first use (HOT-ACC-2)."""
        return self.to not in ("emergency", "free")

    def rows(self, sheet: PriceSheet, moment: int, surcharged: bool = False) -> list[Row]:
        """`surcharged`: in the EU there is a surcharge beside the price (HOT-ROA-4, HOT-ROA-8)."""
        if surcharged and self.place == "eu" and (found := self._surcharged(sheet, moment)):
            return found
        found = [sheet.row(moment, self.service, self.place, self.direction, self.to)]
        if self.incoming_too:
            found.append(sheet.row(moment, self.service, self.place, "mt"))
        return found

    def _surcharged(self, sheet: PriceSheet, moment: int) -> list[Row]:
        directions = [self.direction, *(["mt"] if self.incoming_too else [])]
        found = []
        for direction in directions:
            to = self.to if direction != "mt" else ""
            try:
                price, besides = (
                    sheet.row(moment, self.service, place, direction, to) for place in ("eu-surcharged", "eu-surcharge")
                )
                found += [price] if price is besides else [price, besides]  # the same everywhere: no surcharge
            except SheetError:
                found.append(sheet.row(moment, self.service, "eu", direction, to))
        return found


COUNTRIES = {"293": "home", "232": "AT", "219": "HR", "220": "RS", "218": "BA", "294": "MK", "228": "CH", "310": "US"}
"""By Mobile Country Code."""


def country_of(information: ServiceInformation) -> str:
    ps = information.ps_information
    assert ps is not None and ps.tgpp_sgsn_mcc_mnc is not None
    return COUNTRIES[ps.tgpp_sgsn_mcc_mnc[:3]]
