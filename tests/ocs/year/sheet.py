"""The price list of the year as a reader would write it on paper, and the same list as catalogue versions.

The tables are written by hand, and are not made from the catalogue: both must come to the same amounts. Version "2"
begins with July (dearer data and calls at home, in the middle of running sessions), version "3" with the new year.
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from zoneinfo import ZoneInfo

from simulator.price_sheet import PriceSheet
from tests.ocs.rules.world import CATALOGUE

ZONE = ZoneInfo("Europe/Ljubljana")


def local(text: str) -> int:
    """Unix seconds of a local time such as "2027-07-01 00:00"."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZONE).timestamp())


BEGINS, ENDS = local("2027-03-01 00:00"), local("2028-03-03 00:00")
PORTED = local("2027-06-15 04:00")
"""A number goes to another network."""
JULY, NEW_YEAR = local("2027-07-01 00:00"), local("2028-01-01 00:00")

PRICES = """
# label | places | directions | destinations | micro-EUR / units | first/next | units that pay | cap | beyond
voice.emergency | * | mo mt | emergency | free
voice.free | home eu | mo | free | free
voice.home.national | home | mo fw | national | {voice} / 60 | 60/1 | voice
voice.home.zone1 | home | mo fw | zone1 | 231800 / 60 | 60/1
voice.eu.eu | eu | mo fw | national zone1 | {voice} / 60 | 60/1 | voice
voice.short | home eu | mo | short | 69000 / 60 | 60/60
voice.zone2 | home eu | mo fw | zone2 | 500000 / 60 | 60/60
voice.zone3 | home eu | mo fw | zone3 | 1500000 / 60 | 60/60
voice.premium | * | mo | premium | 1500000 / 60 | 60/60
voice.premium-call | * | mo | premium-call | 2000000 / call
voice.incoming | home eu | mt |  | free
voice.world-1.out | balkan world-1 | mo fw | * | 990000 / 60 | 60/60
voice.world-1.in | balkan world-1 | mt |  | 490000 / 60 | 60/60
voice.usa-partner.out | usa-partner | mo fw | * | 2990000 / 60 | 60/60 | usa-voice
voice.usa-partner.in | usa-partner | mt |  | 1490000 / 60 | 60/60 | usa-voice
voice.world-2.out | world-2 | mo fw | * | 2990000 / 60 | 60/60
voice.world-2.in | world-2 | mt |  | 1490000 / 60 | 60/60
sms.home.national | home | mo | national | 69000 / 1 | 1/1 | pack-sms sms
voice.on-net | home | mo | on-net | 29900 / 60 | 60/1 | voice
sms.on-net | home | mo | on-net | 29900 / 1 | 1/1 | pack-sms sms
sms.home.zone1 | home | mo | zone1 | 73200 / 1 | 1/1
sms.eu.eu | eu | mo | national zone1 | 69000 / 1 | 1/1 | sms
sms.short | home eu | mo | short | 69000 / 1 | 1/1
sms.international | home eu | mo | zone2 zone3 | 150000 / 1 | 1/1
sms.incoming | * | mt |  | free
sms.world-1.out | balkan world-1 | mo | * | 250000 / 1 | 1/1
sms.usa-partner.out | usa-partner | mo | * | 390000 / 1 | 1/1 | usa-sms
sms.world-2.out | world-2 | mo | * | 390000 / 1 | 1/1
mms.home.national | home | mo | national | 250000 / 1 | 1/1 | pack-mms
mms.home.zone1 | home | mo | zone1 | 490000 / 1 | 1/1
mms.eu.eu | eu | mo | national zone1 | 250000 / 1 | 1/1
mms.international | home eu | mo | zone2 zone3 | 490000 / 1 | 1/1
mms.world.out | balkan world-1 usa-partner world-2 | mo | * | 990000 / 1 | 1/1
data.home | home |  |  | {data} / 1 MB | 1024/1024 | data extra-data
data.eu-2027 | eu |  |  | {data} / 1 MB | 1024/1024 | data extra-data | roaming-data | 1191 / 1 MB
voice.eu.eu-surcharged | eu-surcharged | mo fw | national zone1 | {voice} / 60 | 60/1 | voice
voice.eu.eu-surcharged.surcharge | eu-surcharge | mo fw | national zone1 | 23180 / 60 | 30/1
voice.incoming.eu-surcharged | eu-surcharged | mt |  | free
voice.incoming.eu-surcharged.surcharge | eu-surcharge | mt |  | 2440 / 60 | 1/1
sms.eu.eu-surcharged | eu-surcharged | mo | national zone1 | 69000 / 1 | 1/1 | sms
sms.eu.eu-surcharged.surcharge | eu-surcharge | mo | national zone1 | 3660 / 1 | 1/1
data.eu-surcharged-2027 | eu-surcharged |  |  | {data} / 1 MB | 1024/1024 | data extra-data | roaming-data
data.eu-surcharged-2027.surcharge | eu-surcharge |  |  | 1191 / 1 MB | 1024/1024 |  | roaming-data
data.balkan | balkan |  |  | 2900000 / 1 MB | 10240/10240 | balkan-data | roaming-data
data.world-1 | world-1 |  |  | 2900000 / 1 MB | 10240/10240 |  | roaming-data
data.usa-partner | usa-partner |  |  | 9900000 / 1 MB | 10240/10240 | usa-data | roaming-data
data.world-2 | world-2 |  |  | 9900000 / 1 MB | 10240/10240 |  | roaming-data
"""
PRODUCTS = """
# product | EUR | days | units | marks | benefits; days
MINI | {mini} | 30 | voice = 1500 min, sms = 1500, data = 9 GB | tariff renews told
MAXI | 9.99 | 30 | voice = unlimited, sms = unlimited, data = 150 GB | tariff renews told
EXTRA | 13.99 | 30 | voice = unlimited, sms = unlimited, data = 300 GB | tariff renews told
GIGA-MINI | 6.99 | 30 | data = 100 GB | tariff renews told
GIGA-UNLIMITED | 14.99 | 30 | data = unlimited | tariff renews
FAMILY | 19.99 | 30 | voice = 60 min, sms = 50, data = 2 GB | tariff renews told shared
5G | 1.99 | 30 |  | option renews needs:tariff
SMS-200 | 7.00 | 30 | pack-sms = 200 | pack renews voided told not-with:MAXI not-with:EXTRA
SMS-1000 | 11.00 | 30 | pack-sms = 1000 | pack renews voided told not-with:MAXI not-with:EXTRA
SMS-200-MESEC | 7.00 | 30 | pack-sms = 200 | pack with-tariff voided
MMS-50 | 5.00 | 30 | pack-mms = 50 | pack renews voided
MMS-50-MESEC | 5.00 | 30 | pack-mms = 50 | pack with-tariff
USA-UNLIMITED | 19.90 | 7 | usa-voice = unlimited, usa-sms = unlimited, usa-data = 1 GB | told
BALKAN-500-MB | 9.90 | 30 | balkan-data = 500 MB | told
EXTRA-DATA-5-GB | 4.00 | 30 | extra-data = 5 GB | counts with-tariff
TV | 9.90 | 30 |  | recurring-fee renews | connection = 60.00, equipment = 48.00; 720
TV-RECEIVER | 2.00 | 30 |  | recurring-fee renews needs:TV
ITEMISED-BILL | 1.00 | 30 |  | recurring-fee renews
SIM-REPLACEMENT | 5.00 | 0
FREEZE | 3.00 | 0
UNFREEZE | 3.00 | 0
OWNERSHIP-CHANGE | 5.00 | 0
"""
OLD = {"voice": 69_000, "data": 6_900, "mini": "6.99", "vat": 22}
SINCE_JULY = {**OLD, "voice": 78_000, "data": 7_500}
SINCE_NEW_YEAR = {**SINCE_JULY, "data": 6_400, "mini": "7.49", "vat": 25}


def _filled(text: str, values: dict[str, object]) -> str:
    lines = text.format(**values).splitlines()
    # A line may leave out its last cells.
    cells = 9 if "directions" in text else 6
    return "\n".join(
        line + " |" * (cells - 1 - line.count("|")) for line in lines if line.strip() and not line.startswith("#")
    )


def sheet(**wrong: int) -> PriceSheet:
    """`wrong`: other values of the first version."""
    versions = (("1", 0, {**OLD, **wrong}), ("2", JULY, SINCE_JULY), ("3", NEW_YEAR, SINCE_NEW_YEAR))
    return PriceSheet(
        [
            (name, begins, _filled(PRICES, dict(values)), _filled(PRODUCTS, dict(values)), int(str(values["vat"])))
            for name, begins, values in versions
        ],
        cap_micro_eur=1_000_000,
    )


# -- the same as catalogues

FAMILY = """
[package.FAMILY] # HOT-PKG-14: its units are those of the group
price_eur = "19.99"
net_eur = "16.39"
period_days = 30
shared = true
bucket.voice = { unit = "seconds", quantity = "60 min" }
bucket.sms = { unit = "messages", quantity = "50 messages" }
bucket.data = { unit = "octets", quantity = "2 GB", thresholds = [80, 100] }
"""

ON_NET = """
[destination.on-net] # HOT-RAT-1: the network of a ported number decides
networks = ["hot"]

[price.voice-on-net]
micro_eur = 29_900
per = "1 min"
first = "60 s"
next = "1 s"

[price.sms-on-net]
micro_eur = 29_900
per = "1 message"

[rate."voice.on-net"]
service = "voice"
places = ["home"]
directions = ["mo"]
destinations = ["on-net"]
price = "voice-on-net"
buckets = ["voice"]

[rate."sms.on-net"]
service = "sms"
places = ["home"]
directions = ["mo"]
destinations = ["on-net"]
price = "sms-on-net"
buckets = ["pack-sms", "sms"]
"""


def catalogue_texts() -> list[str]:
    """The shipped catalogue with a tariff for groups, and what the operator changes in July and at the new year."""
    first = CATALOGUE.read_text() + FAMILY + ON_NET
    july = _changed(
        first,
        ('version = "1"', 'version = "2"\nvalid_from = "2027-07-01T00:00"'),
        (VOICE_NATIONAL, "[price.voice-national]\nmicro_eur = 78_000"),
        ("micro_eur = 6_900\n", "micro_eur = 7_500\n"),
    )
    new_year = _changed(
        july,
        ('version = "2"\nvalid_from = "2027-07-01T00:00"', 'version = "3"\nvalid_from = "2028-01-01T00:00"'),
        ("micro_eur = 7_500\n", "micro_eur = 6_400\n"),
        ('[package.MINI]\nprice_eur = "6.99"', '[package.MINI]\nprice_eur = "7.49"'),
    )
    return [first, july, _with_vat(new_year, 25)]


VOICE_NATIONAL = """\
[price.voice-national] # 60/1; also after the included minutes are used up (HOT-PKG-15)
micro_eur = 69_000"""


def _changed(text: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def _with_vat(text: str, percent: int) -> str:
    """Another VAT rate: subscribers pay the same, the net prices of the products change."""

    def net(found: re.Match[str]) -> str:
        share = Decimal(found[1]) / (1 + Decimal(percent) / 100)
        return f'price_eur = "{found[1]}"\nnet_eur = "{share.quantize(Decimal("0.01"), ROUND_HALF_UP)}"'

    text = re.sub(r'price_eur = "([0-9.]+)"\nnet_eur = "[0-9.]+"', net, text)
    return _changed(text, ("vat_percent = 22 ", f"vat_percent = {percent} "))
