"""tshark over every kind of message that the server sends, charging's answers in all their forms among them: none malformed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ocs.charging.profile import Filters, FinalUnit, Origin, Profile
from ocs.rating.catalogue import load_catalogue
from protocol import commands
from protocol.answers import error_answer
from protocol.capabilities import LocalNode, make_cea, make_cer, make_dwa, make_dwr, refusal
from protocol.credit_control import (
    CreditControlAnswer,
    CreditControlRequest,
    OcOlr,
    OcSupportedFeatures,
    UsedServiceUnit,
    encode_cca,
    encode_ccr,
)
from protocol.errors import DiameterError
from protocol.header import parse_header
from tests.ocs.charging.ccr import IMS, IMSI, MB, MSISDN, at, ccr, messages, octets, seconds, sms_to, towards
from tests.ocs.charging.fake_ledger import EUR, NOW, FakeLedger
from tests.ocs.charging.test_core_network import Quota, Timed
from tests.ocs.charging.test_service import ACCOUNT, Worker
from tests.ocs.rules.world import CATALOGUE
from tests.protocol.test_tshark import HERE, notes

OCS, REALM, PGW = "ocs.example.net", "example.net", "pgw.example.net"
EVERYTHING = Profile(
    cost_information=True,
    remaining_balance=True,
    low_balance_indication=True,
    session_failover=1,
    failure_handling=2,
    direct_debiting_failure_handling=1,
    announcement=17,
    pools=True,
    qos_final_unit=True,
)


async def charged() -> dict[str, bytes]:
    """Answers to Credit-Control-Requests, encoded, by what they are."""
    catalogue = load_catalogue(CATALOGUE)
    ledger = FakeLedger()
    ledger.open(ACCOUNT, MSISDN, IMSI)
    worker = Worker(ledger, catalogue)
    found: dict[str, bytes] = {}

    async def take(
        name: str, request: CreditControlRequest, profile: Profile = EVERYTHING
    ) -> CreditControlAnswer | None:
        worker.source = Origin(PGW, profile=profile, refunds=True)
        frame = encode_ccr(request, hop_by_hop=len(found), end_to_end=7)
        answer = await worker.handle(request)
        header = parse_header(frame)
        if isinstance(answer, DiameterError):
            found[name] = error_answer(frame, header, answer, OCS, REALM)
            return None
        if "overload" in name:
            answer.oc_supported_features, answer.oc_olr = OcSupportedFeatures(1), OcOlr(3, 0, 40, 30)
        found[name] = encode_cca(answer, header, OCS, REALM)
        return answer

    def credit(micro_eur: int) -> None:
        account = ledger.model.accounts[ACCOUNT]
        account.credit = account.held + micro_eur

    pooled = [octets(want=MB, identifiers=(n,)) for n in (1, 2)]
    worker.service._rater = Quota(catalogue, pool=7, triggers=(4, 30, 31, 61), envelope_reporting=2, time_s=60)
    both = octets(want=MB)
    both.requested_service_unit.cc_time = 60
    await take("pools, triggers, envelopes, overload", ccr("I", 0, *pooled, information=at(), sid="p"))
    await take("time beside volume", ccr("I", 0, both, information=at(), sid="b"))
    worker.service._rater = catalogue
    await take("costs so far", ccr("T", 1, octets(used=MB), information=at(), sid="b"))
    await take("some refused", ccr("I", 0, octets(want=0, group=777), octets(want=0), information=at(), sid="m"))
    await take("unrateable", ccr("I", 0, octets(want=0, group=777), information=at(), sid="n"))
    await take("unknown context", ccr("I", 0, octets(want=0), context="32299@3gpp.org"))
    await take("unknown subscriber", ccr("I", 0, octets(want=0), information=at(), msisdn="38699999999"))
    await take("unknown session", ccr("U", 1, octets(want=0), information=at(), sid="nobody"))
    await take("no subscriber", ccr("I", 0, octets(want=0), information=at(), msisdn=None))
    worker.service._rater = Timed(catalogue, NOW + 600)
    await take("tariff change", ccr("I", 0, octets(want=MB), information=at(), sid="t"))
    switched = octets()
    switched.used_service_unit = [UsedServiceUnit(tariff_change_usage=n, cc_total_octets=1000) for n in range(3)]
    await take("after the tariff change", ccr("T", 1, switched, information=at(), sid="t"))
    worker.service._rater = catalogue
    call = {"context": IMS, "information": towards("tel:+38631234567")}
    credit(150_000)
    await take("announcement", ccr("I", 0, seconds(want=3600), sid="c", **call))
    await take("end of the call", ccr("T", 1, seconds(used=5), sid="c", **call))
    credit(20 * EUR)
    text = {"context": "32274@3gpp.org", "information": sms_to("+38631234567")}
    paid = await take("debit", ccr("E", 0, messages(want=2), sid="s", **text))
    assert paid is not None
    back = messages(want=1)
    back.refund_information = paid.multiple_services_credit_control[0].refund_information
    await take("refund", ccr("E", 1, back, sid="s", requested_action=1, **text))
    await take("refund of nothing", ccr("E", 2, messages(want=1), sid="s", requested_action=1, **text))
    await take("balance check", ccr("E", 3, messages(want=1), sid="s", requested_action=2, **text))
    await take("price enquiry", ccr("E", 4, messages(want=1), sid="s", requested_action=3, **text))
    credit(0)
    await take("no credit", ccr("I", 0, octets(want=MB), information=at(), sid="x"))
    redirect = dataclasses.replace(EVERYTHING, final_unit=FinalUnit.REDIRECT)
    addresses = [(0, "192.0.2.7"), (1, "2001:db8::7"), (2, "https://hot.example.net"), (3, "sip:topup@hot.example.net")]
    for kind, address in addresses:
        profile = dataclasses.replace(redirect, redirect_address=address, redirect_address_type=kind)
        await take(f"redirect {kind}", ccr("I", 0, octets(want=MB), information=at(), sid=f"r{kind}"), profile)
    restrict = dataclasses.replace(EVERYTHING, final_unit=FinalUnit.RESTRICT)
    rules: dict[str, Any] = {"filters": Filters.RULES, "filter_rules": ("permit out ip from 192.0.2.1 to any",)}
    names: dict[str, Any] = {"filters": Filters.FILTER_ID, "filter_ids": ("walled-garden",)}
    for name, more in (("rules", rules), ("names", names), ("alone", {})):
        profile = dataclasses.replace(restrict, **more)
        await take(f"restrict {name}", ccr("I", 0, octets(want=MB), information=at(), sid=name), profile)
    credit(6_900)
    await take("last units", ccr("I", 0, octets(want=10 * MB), information=at(), sid="l"))
    return found


def base() -> dict[str, bytes]:
    """What else we say."""
    local = LocalNode(OCS, REALM, origin_state_id=3)
    cer = commands.encode(make_cer(local, [HERE]), hop_by_hop=1, end_to_end=1)
    dwr = commands.encode(make_dwr(local), hop_by_hop=2, end_to_end=2)
    dpr = commands.encode(commands.DisconnectPeerRequest(OCS, REALM, 0), hop_by_hop=3, end_to_end=3)
    rar = commands.ReAuthRequest("s;1;2", OCS, REALM, REALM, PGW)
    asr = commands.AbortSessionRequest("s;1;2", OCS, REALM, REALM, PGW)
    found = {
        "CER": cer,
        "CEA": commands.encode_answer(make_cea(local, [HERE], 2001), parse_header(cer)),
        "DWR": dwr,
        "DWA": commands.encode_answer(make_dwa(local), parse_header(dwr)),
        "DPR": dpr,
        "DPA": commands.encode_answer(commands.DisconnectPeerAnswer(2001, OCS, REALM), parse_header(dpr)),
        "RAR": commands.encode(rar, hop_by_hop=4, end_to_end=4, application_id=4),
        "ASR": commands.encode(asr, hop_by_hop=5, end_to_end=5, application_id=4),
    }
    for code in (3010, 5010, 5012, 5017):
        error = DiameterError(code, "no", close=True)
        found[f"CEA {code}"] = refusal(parse_header(cer), local, [HERE], error)
    request = ccr("I", 0, octets(want=MB), information=at())
    frame = encode_ccr(request, hop_by_hop=6, end_to_end=6)
    for code in (3002, 3003, 3004, 3005, 5003, 5012):
        found[f"CCA {code}"] = error_answer(frame, parse_header(frame), DiameterError(code, "no"), OCS, REALM)
    return found


async def test_nothing_that_we_send_is_malformed(tmp_path: Path) -> None:
    sent = {**await charged(), **base()}
    assert len(sent) >= 45
    assert notes(list(sent.values()), tmp_path) == []
