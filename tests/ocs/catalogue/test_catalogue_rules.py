"""The catalogue, rule by rule: prices, payers, what is always granted, and bars."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocs.catalogue.catalogue import Catalogue
from ocs.catalogue.price import billable_units, cost_micro_eur
from ocs.catalogue.variants import VariantRates
from ocs.values.products import ProductKind
from ocs.values.use import Context, Direction, RatedUse, Unit, Unrateable, UseEvent
from tests.catalogue import CATALOGUE, fixed_catalogue
from tests.rules import rule

HOME, GERMANY, BOSNIA, BRITAIN, USA, AT_SEA = "29340", "26201", "21803", "23410", "310410", "90112"
WORLD = (BOSNIA, USA, AT_SEA)
EVERYWHERE = (HOME, GERMANY, *WORLD)
MOBILE, FIXED, GERMAN, BOSNIAN, AMERICAN = (
    "+38640123456",
    "+38612345678",
    "+4917012345678",
    "+38761234567",
    "+12125551234",
)
MINUTE = 60
DATA_TARIFFS = ("MINI", "MAXI", "EXTRA", "GIGA-MINI", "GIGA-UNLIMITED")
SMS_PACKS = ("SMS-200", "SMS-1000", "SMS-200-MESEC", "SMS-1000-MESEC")


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return fixed_catalogue()


def call(party: str | None, plmn: str = HOME, direction: Direction = Direction.ORIGINATING) -> UseEvent:
    return UseEvent(Context.IMS, direction=direction, serving_plmn=plmn, other_party=party)


def sms(party: str | None, plmn: str = HOME, direction: Direction = Direction.ORIGINATING) -> UseEvent:
    return UseEvent(Context.SMS, direction=direction, serving_plmn=plmn, other_party=party)


def data(plmn: str | None = HOME, group: int | None = None, apn: str | None = "internet") -> UseEvent:
    return UseEvent(Context.DATA, rating_group=group, serving_plmn=plmn, apn=apn)


def cost(rated: RatedUse, used: int) -> int:
    return cost_micro_eur(rated.price, billable_units(rated.price, used))


# -- packages


@rule("HOT-PKG-1")
@pytest.mark.parametrize(
    ("id_", "price", "voice", "messages", "octets"),
    [
        ("MINI", 6_990_000, 1500 * 60, 1500, 9 * 1024**3),
        ("MAXI", 9_990_000, None, None, 150 * 1024**3),
        ("EXTRA", 13_990_000, None, None, 300 * 1024**3),
        ("GIGA-UNLIMITED", 14_990_000, "-", "-", None),
    ],
)
def test_hot_pkg_1_packages(
    catalogue: Catalogue, id_: str, price: int, voice: object, messages: object, octets: object
) -> None:
    package = catalogue.packages[id_]
    assert package.price_micro_eur == price
    assert package.period_s == 30 * 86_400
    buckets = {bucket.id: (bucket.unit, bucket.quantity) for bucket in package.buckets}
    expected = {"voice": ("seconds", voice), "sms": ("messages", messages), "data": ("octets", octets)}
    assert buckets == {f"{id_}.{name}": value for name, value in expected.items() if value[1] != "-"}


@rule("HOT-PKG-1")
def test_hot_pkg_1_giga_mini_is_data_only_and_there_is_a_5g_option(catalogue: Catalogue) -> None:
    assert sorted(catalogue.packages) == ["EXTRA", "GIGA-MINI", "GIGA-UNLIMITED", "MAXI", "MINI"]
    assert catalogue.packages["GIGA-MINI"].price_micro_eur == 6_990_000
    assert [bucket.unit for bucket in catalogue.packages["GIGA-MINI"].buckets] == ["octets"]
    assert catalogue.products["5G"].kind is ProductKind.OPTION
    assert catalogue.products["5G"].terms.price_micro_eur > 0


@rule("HOT-PKG-3")
@pytest.mark.parametrize(
    ("event", "buckets"),
    [
        (data(), (*(f"{name}.data" for name in DATA_TARIFFS), "EXTRA-DATA-5-GB.extra-data")),
        (call(MOBILE), ("MINI.voice", "MAXI.voice", "EXTRA.voice")),
        (sms(MOBILE), (*(f"{name}.pack-sms" for name in SMS_PACKS), "MINI.sms", "MAXI.sms", "EXTRA.sms")),
    ],
)
def test_hot_pkg_3_included_units_may_pay_before_credit(
    catalogue: Catalogue, event: UseEvent, buckets: tuple[str, ...]
) -> None:
    rated = catalogue.rate(event)
    assert rated.buckets == buckets
    assert rated.price.num > 0


@rule("HOT-PKG-4")
def test_hot_pkg_4_data_has_a_price_per_unit(catalogue: Catalogue) -> None:
    rated = catalogue.rate(data())
    assert (rated.unit, rated.label) == (Unit.OCTETS, "data.home")
    assert cost(rated, 1024**2) == 6_900


@rule("HOT-PKG-5")
def test_hot_pkg_5_billing_intervals_of_the_price_list(catalogue: Catalogue) -> None:
    national, zone2 = catalogue.rate(call(MOBILE)), catalogue.rate(call(BOSNIAN))
    assert (national.price.first, national.price.next) == (60, 1)
    assert (zone2.price.first, zone2.price.next) == (60, 60)
    assert cost(national, 1) == cost(national, 60) == 69_000
    assert cost(national, 61) == 69_000 + 1_150
    assert cost(zone2, 61) == 2 * 500_000
    at_home, abroad = catalogue.rate(data()).price, catalogue.rate(data(USA)).price
    assert (at_home.first, at_home.next) == (1024, 1024)
    assert (abroad.first, abroad.next) == (10 * 1024, 10 * 1024)


@rule("HOT-PKG-5")
def test_hot_pkg_5_a_price_per_call(catalogue: Catalogue) -> None:
    rated = catalogue.rate(call("090412345"))
    assert rated.price.flat
    assert cost(rated, 1) == cost(rated, 3600) == 2_000_000


# -- rating


@rule("HOT-RAT-1")
@pytest.mark.parametrize(
    ("event", "label", "place", "destination", "for_a_minute"),
    [
        (call(MOBILE), "voice.home.national", "home", "national-mobile", 69_000),
        (call(FIXED), "voice.home.national", "home", "national-fixed", 69_000),
        (call("040123456"), "voice.home.national", "home", "national-mobile", 69_000),
        (call("1918"), "voice.short", "home", "short", 69_000),
        (call(GERMAN), "voice.home.zone1", "home", "zone1", 231_800),
        (call("+38761234567"), "voice.zone2", "home", "zone2", 500_000),
        (call("+381601234567"), "voice.zone2", "home", "zone2", 500_000),
        (call("+355661234567"), "voice.zone2", "home", "zone2", 500_000),
        (call("+5511987654321"), "voice.zone3", "home", "zone3", 1_500_000),
        (call("+881612345678"), "voice.special", "home", "special", 8_000_000),
        (call("090123456"), "voice.premium", "home", "premium", 1_500_000),
        (call(MOBILE, GERMANY), "voice.eu.eu", "eu", "national-mobile", 69_000),
        (call(MOBILE, BOSNIA), "voice.world-1.out", "balkan", "national-mobile", 990_000),
        (call(AMERICAN, USA), "voice.world-2.out", "world-2", "zone2", 2_990_000),
        (call(MOBILE, AT_SEA), "voice.world-3.out", "world-3", "national-mobile", 5_990_000),
        (call(MOBILE, HOME, Direction.FORWARDED), "voice.home.national", "home", "national-mobile", 69_000),
    ],
)
def test_hot_rat_1_calls_by_direction_destination_and_place(
    catalogue: Catalogue, event: UseEvent, label: str, place: str, destination: str, for_a_minute: int
) -> None:
    rated = catalogue.rate(event)
    assert (rated.service, rated.unit) == ("voice", Unit.SECONDS)
    assert (rated.label, rated.place, rated.destination) == (label, place, destination)
    assert cost(rated, MINUTE) == for_a_minute
    assert rated.price.id.startswith(f"{label}@")
    assert catalogue.rate(replace(event, context=Context.CS)) == rated


@rule("HOT-RAT-1")
@pytest.mark.parametrize(
    ("context", "party", "plmn", "label"),
    [
        (Context.SMS, MOBILE, HOME, "sms.home.national"),
        (Context.SMS, GERMAN, HOME, "sms.home.zone1"),
        (Context.SMS, BOSNIAN, HOME, "sms.international"),
        (Context.SMS, "1919", HOME, "sms.short"),
        (Context.SMS, MOBILE, BOSNIA, "sms.world-1.out"),
        (Context.SMS, AMERICAN, USA, "sms.world-2.out"),
        (Context.MMS, MOBILE, HOME, "mms.home.national"),
        (Context.MMS, "alice@example.com", HOME, "mms.short"),
        (Context.MMS, GERMAN, HOME, "mms.home.zone1"),
        (Context.MMS, BOSNIAN, GERMANY, "mms.international"),
        (Context.MMS, MOBILE, USA, "mms.world.out"),
    ],
)
def test_hot_rat_1_messages_by_destination_and_place(
    catalogue: Catalogue, context: Context, party: str, plmn: str, label: str
) -> None:
    rated = catalogue.rate(UseEvent(context, other_party=party, serving_plmn=plmn))
    assert (rated.label, rated.unit, rated.service) == (label, Unit.MESSAGES, context.value)
    assert cost(rated, 2) == 2 * cost(rated, 1) > 0


@rule("HOT-RAT-2")
@pytest.mark.parametrize("plmn", EVERYWHERE)
@pytest.mark.parametrize(
    "party", ["112", "113", "116000", "116 000", "sip:112@ims", "+386112", "urn:service:sos.police"]
)
def test_hot_rat_2_emergency_calls_are_free_and_always_allowed_everywhere(
    catalogue: Catalogue, party: str, plmn: str
) -> None:
    for event in (call(party, plmn), replace(call(party, plmn), context=Context.CS)):
        rated = catalogue.rate(event)
        assert (rated.label, rated.always, rated.bars, rated.price.num) == ("voice.emergency", True, (), 0)


@rule("HOT-RAT-2")
@pytest.mark.parametrize("direction", list(Direction))
def test_hot_rat_2_what_the_network_marks_as_emergency_is_one_whatever_else_it_says(
    catalogue: Catalogue, direction: Direction
) -> None:
    for plmn in (HOME, USA, "99999", "rubbish"):
        rated = catalogue.rate(replace(call(MOBILE, plmn, direction), emergency=True))
        assert (rated.label, rated.always) == ("voice.emergency", True)


@rule("HOT-RAT-2")
def test_hot_rat_2_an_emergency_call_from_an_unknown_network_is_let_through(catalogue: Catalogue) -> None:
    assert catalogue.rate(call("112", "99999")).always
    assert catalogue.rate(UseEvent(Context.CS, visited_number="999000", other_party="112")).always
    with pytest.raises(Unrateable):
        catalogue.rate(call(MOBILE, "99999"))


@rule("HOT-RAT-2")
def test_hot_rat_2_the_emergency_bearer_is_free(catalogue: Catalogue) -> None:
    for plmn in EVERYWHERE:
        rated = catalogue.rate(data(plmn, group=100, apn="sos.mnc040.mcc293.gprs"))
        assert (rated.service, rated.always, rated.bars, rated.price.num) == ("sos", True, (), 0)


@rule("HOT-RAT-3")
@pytest.mark.parametrize("plmn", [HOME, GERMANY, "27401", "24201"])
@pytest.mark.parametrize("party", ["080123456", "+38680123456", "1990"])
def test_hot_rat_3_freephone_and_help_centre_are_free_at_home_in_the_eu_and_eea(
    catalogue: Catalogue, party: str, plmn: str
) -> None:
    if party == "080123456" and plmn != HOME:
        party = "+38680123456"
    rated = catalogue.rate(call(party, plmn))
    assert (rated.label, rated.always, rated.bars, rated.price.num) == ("voice.free", True, (), 0)


@rule("HOT-RAT-3")
def test_hot_rat_3_freephone_from_the_rest_of_the_world_is_an_ordinary_call(catalogue: Catalogue) -> None:
    rated = catalogue.rate(call("+38680123456", USA))
    assert (rated.label, rated.always) == ("voice.world-2.out", False)


@rule("HOT-RAT-4")
def test_hot_rat_4_zone_2_has_23_countries_ba_rs_and_al_among_them() -> None:
    countries = tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))["destination"]["zone2"]["countries"]
    assert len(set(countries)) == 23
    assert {"BA", "RS", "AL"} <= set(countries)


@rule("HOT-RAT-5")
@pytest.mark.parametrize(
    ("plmn", "zone", "out", "in_"),
    [
        (BRITAIN, "world-1", 990_000, 490_000),
        (USA, "world-2", 2_990_000, 1_490_000),
        (AT_SEA, "world-3", 5_990_000, 3_990_000),
    ],
)
def test_hot_rat_5_roaming_outside_the_eu_has_zone_prices(
    catalogue: Catalogue, plmn: str, zone: str, out: int, in_: int
) -> None:
    outgoing, incoming = catalogue.rate(call(MOBILE, plmn)), catalogue.rate(call(None, plmn, Direction.TERMINATING))
    assert (outgoing.place, cost(outgoing, MINUTE), outgoing.buckets) == (zone, out, ())
    assert (incoming.place, cost(incoming, MINUTE), incoming.buckets) == (zone, in_, ())
    sent, received = catalogue.rate(sms(MOBILE, plmn)), catalogue.rate(sms(MOBILE, plmn, Direction.TERMINATING))
    assert cost(sent, 1) > 0
    assert sent.buckets == ()
    assert (cost(received, 1), received.always) == (0, False)
    volume = catalogue.rate(data(plmn))
    assert (volume.place, volume.buckets) == (zone, ())
    assert cost(volume, 1024**2) > 1_000_000
    assert volume.bars == ("roaming", "data")


@rule("HOT-RAT-5")
def test_hot_rat_5_the_serving_node_tells_the_zone_when_no_network_is_given(catalogue: Catalogue) -> None:
    event = UseEvent(Context.CS, visited_number="38761000000", other_party=MOBILE)
    assert catalogue.rate(event).place == "balkan"
    assert catalogue.rate(replace(event, visited_number=None)).place == "home"


@rule("HOT-RAT-8")
def test_hot_rat_8_every_price_is_exact_and_its_id_is_its_own(catalogue: Catalogue) -> None:
    rates = []
    for service in catalogue._services._contexts.values():
        for found in {*service.by_match.values(), service.default}:
            if found is not None:
                rates += [*found.by_use.values(), *found.by_place.values()]
    found_variants = [rated.variants for rated in rates if isinstance(rated.variants, VariantRates)]
    rates += [variant.rated for variants in found_variants for variant in variants._variants]
    rates += [rated.surcharge for rated in rates if rated.surcharge is not None]
    ids = {(rated.label, rated.price.id) for rated in rates}
    assert len({price for _, price in ids}) == len({label for label, _ in ids}) == len(catalogue.labels)


# -- roaming, state


@rule("HOT-ROA-1")
@pytest.mark.parametrize("plmn", [GERMANY, "22201", "21910", "20801", "64710", "27401", "24201", "29501"])
def test_hot_roa_1_eu_and_eea_roam_like_at_home(catalogue: Catalogue, plmn: str) -> None:
    for at_home, abroad in (
        (call(MOBILE), call(MOBILE, plmn)),
        (call(MOBILE), call(GERMAN, plmn)),
        (sms(MOBILE), sms(MOBILE, plmn)),
        (sms(MOBILE), sms(GERMAN, plmn)),
        (data(), data(plmn)),
    ):
        home, roaming = catalogue.rate(at_home), catalogue.rate(abroad)
        assert roaming.place == "eu"
        of_tariffs = tuple(each for each in home.buckets if ".pack-" not in each)  # packs do not roam (HOT-PKG-10)
        assert roaming.buckets == of_tariffs != ()
        for used in (1, 61, 10_000_000):
            assert cost(roaming, used) == cost(home, used)


@rule("HOT-ROA-1")
def test_hot_roa_1_calls_out_of_the_eu_cost_the_international_price(catalogue: Catalogue) -> None:
    for party in (BOSNIAN, "+5511987654321"):
        home, roaming = catalogue.rate(call(party)), catalogue.rate(call(party, GERMANY))
        assert (roaming.price, roaming.buckets) == (home.price, ())


@rule("HOT-ACC-9")
@pytest.mark.parametrize("plmn", [HOME, GERMANY])
@pytest.mark.parametrize("context", [Context.IMS, Context.CS, Context.SMS, Context.MMS])
def test_hot_acc_9_incoming_is_free_at_home_and_in_the_eu_but_needs_an_active_account(
    catalogue: Catalogue, context: Context, plmn: str
) -> None:
    for party in (MOBILE, None, "anonymous"):
        event = UseEvent(context, direction=Direction.TERMINATING, serving_plmn=plmn, other_party=party)
        rated = catalogue.rate(event)
        assert (rated.price.num, rated.always, rated.buckets, rated.destination) == (0, False, (), "")


@rule("HOT-CC-5")
@pytest.mark.parametrize(
    ("event", "bars"),
    [
        (call(MOBILE), ()),
        (call(GERMAN), ("international",)),
        (sms(GERMAN), ("international-sms",)),
        (call("090123456"), ("premium",)),
        (data(), ("data",)),
        (data(GERMANY), ("roaming", "data")),
        (call(MOBILE, GERMANY), ("roaming",)),
        (call(None, GERMANY, Direction.TERMINATING), ("roaming",)),
        (call("+33612345678", GERMANY), ("roaming", "international")),
        (call(GERMAN, GERMANY), ("roaming",)),
        (sms(AMERICAN, USA), ("roaming",)),
        (call("+38690123456", USA), ("roaming", "premium")),
    ],
)
def test_hot_cc_5_bars_that_forbid_a_use(catalogue: Catalogue, event: UseEvent, bars: tuple[str, ...]) -> None:
    assert catalogue.rate(event).bars == bars


# -- services


@pytest.mark.parametrize(
    ("event", "service"),
    [
        (data(group=None), "data"),
        (data(group=100), "data"),
        (data(group=1), "data"),
        (data(group=900), "portal"),
        (data(group=None, apn="SOS"), "sos"),
        (data(group=900, apn="sos"), "sos"),
        (call(MOBILE), "voice"),
        (replace(call(MOBILE), rating_group=100, service_identifier=1000), "voice"),
        (replace(sms(MOBILE), rating_group=300), "sms"),
    ],
)
def test_services_by_rating_group_service_identifier_and_apn(
    catalogue: Catalogue, event: UseEvent, service: str
) -> None:
    assert catalogue.rate(event).service == service


@pytest.mark.parametrize(
    ("event", "field"),
    [
        (data(group=4711), "rating_group"),
        (replace(call(MOBILE), rating_group=7), "rating_group"),
        (call(None), "other_party"),
        (call("alice@example.com"), "other_party"),
        (call("+999123456"), "other_party"),
        (data("99999"), "serving_plmn"),
        (data("x"), "serving_plmn"),
        (replace(sms(MOBILE), serving_plmn=None, visited_number="000"), "visited_number"),
    ],
)
def test_an_unrateable_use_names_the_field_that_causes_it(catalogue: Catalogue, event: UseEvent, field: str) -> None:
    with pytest.raises(Unrateable) as caught:
        catalogue.rate(event)
    assert caught.value.field == field
    assert caught.value.reason


def test_captured_requests_of_real_clients_have_a_rate(catalogue: Catalogue) -> None:
    open5gs = UseEvent(Context.DATA, apn="internet", serving_plmn="00101")
    assert catalogue.rate(open5gs).label == "data.home"
    kamailio = UseEvent(
        Context.IMS, rating_group=100, service_identifier=1000, other_party="sip:447700900001@localdomain"
    )
    assert catalogue.rate(kamailio).label == "voice.zone2"
    for group in (1, 2, 3, 9):
        assert catalogue.rate(replace(open5gs, rating_group=group)).label == "data.home"


def test_zero_rated_service_is_granted_without_credit(catalogue: Catalogue) -> None:
    for plmn in (HOME, GERMANY):
        rated = catalogue.rate(data(plmn, group=900))
        assert (rated.price.num, rated.always) == (0, True)
    assert not catalogue.rate(data(USA, group=900)).always


def test_quota_policy_per_service(catalogue: Catalogue) -> None:
    volume, time, messages = (
        catalogue.rate(data()).quota,
        catalogue.rate(call(MOBILE)).quota,
        catalogue.rate(sms(MOBILE)).quota,
    )
    mega = 1024**2
    assert (volume.default, volume.minimum, volume.maximum) == (50 * mega, mega, 500 * mega)
    assert (volume.validity_s, volume.threshold_percent, volume.holding_s) == (3600, 10, 600)
    assert (time.default, time.minimum, time.maximum, time.threshold_percent) == (300, 10, 1800, 10)
    assert (messages.default, messages.minimum, messages.threshold_percent) == (1, 1, 0)


CONTEXTS = st.sampled_from(list(Context))


@settings(deadline=None)  # the library loads a country's plan at its first number
@given(
    st.builds(
        UseEvent,
        context=CONTEXTS,
        direction=st.sampled_from(list(Direction)),
        rating_group=st.none() | st.sampled_from([1, 100, 900, 5]),
        service_identifier=st.none() | st.integers(0, 3),
        apn=st.none() | st.sampled_from(["internet", "sos", ""]) | st.text(max_size=8),
        serving_plmn=st.none() | st.sampled_from(EVERYWHERE) | st.text(max_size=7),
        visited_number=st.none() | st.text("0123456789+", max_size=12),
        other_party=st.none() | st.sampled_from([MOBILE, "112", GERMAN]) | st.text(max_size=20),
        emergency=st.booleans(),
    )
)
def test_any_event_is_rated_or_unrateable_and_labels_are_bounded(event: UseEvent) -> None:
    catalogue = WHOLE
    try:
        rated = catalogue.rate(event)
    except Unrateable as refused:
        assert hasattr(event, refused.field)
        return
    assert rated.label in catalogue.labels
    assert rated.service in catalogue.services
    assert rated.place in catalogue.places
    assert rated.price.num == 0 or not rated.always
    assert catalogue.rate(event) == rated


WHOLE = fixed_catalogue()


# -- the calendar month


@rule("HOT-CC-1")
@given(st.integers(1_600_000_000, 4_000_000_000))
def test_hot_cc_1_the_month_is_the_operators_calendar_month(unix_s: int) -> None:
    local = datetime.fromtimestamp(unix_s, ZoneInfo("Europe/Ljubljana"))
    assert WHOLE.month_of(unix_s) == local.year * 100 + local.month


@rule("HOT-CC-1")
def test_hot_cc_1_the_month_changes_at_local_midnight(catalogue: Catalogue) -> None:
    zone = ZoneInfo("Europe/Ljubljana")
    for year, month in ((2026, 3), (2026, 4), (2026, 10), (2026, 11), (2027, 1)):
        start = int(datetime(year, month, 1, tzinfo=zone).timestamp())
        before = year * 100 + month - 1 if month > 1 else (year - 1) * 100 + 12
        assert [catalogue.month_of(start - 1), catalogue.month_of(start)] == [before, year * 100 + month]
        assert catalogue.month_of(start - 1) == before
