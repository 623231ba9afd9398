"""An account's life over the API: blocks, SIM, number, freeze, fees, pay-out, port-out, end; pools."""

from __future__ import annotations

from ocs.api.rights import Role
from tests.ocs.api.desk import FOREIGN, OWN, Desk
from tests.rules import rule

HERE = f"/v1/accounts/{OWN}"


@rule("HOT-ACC-11")
async def test_blocks_have_reasons_and_each_is_lifted(desk: Desk) -> None:
    assert (await desk.post(f"{HERE}/blocks", Role.MEMBER, json={"reason": "stolen"})).json()["state"] == "blocked"
    forbidden = await desk.post(f"{HERE}/blocks", Role.MEMBER, json={"reason": "non-payment"})
    assert forbidden.status_code == 403
    both = await desk.post(f"{HERE}/blocks", json={"reason": "care"})
    assert sorted(both.json()["blocks"]) == ["care", "stolen"]
    not_theirs = await desk.post(f"{HERE}/blocks/stolen/lift", Role.GROUP_ADMIN, json={})
    assert not_theirs.status_code == 409 and not_theirs.json()["code"] == "by"
    assert (await desk.post(f"{HERE}/blocks/stolen/lift", json={})).json()["blocks"] == ["care"]
    assert (await desk.post(f"{HERE}/blocks/care/lift", json={})).json() == {"state": "active", "blocks": []}
    assert (await desk.post(f"{HERE}/blocks", json={"reason": "mood"})).status_code == 422


@rule("HOT-REC-3")
async def test_fees_are_debited_once(desk: Desk) -> None:
    frozen = await desk.post(f"{HERE}/freeze", once="f", json={})
    again = await desk.post(f"{HERE}/freeze", once="f", json={})
    assert frozen.status_code == 200 and again.text == frozen.text and again.headers["Idempotent-Replayed"] == "true"
    assert (await desk.get(HERE)).json()["blocks"] == ["frozen"]
    assert (await desk.post(f"{HERE}/unfreeze", json={})).status_code == 200
    paid = await desk.post(f"{HERE}/fees", Role.SHOP, json={"fee": "CONNECTION", "reference": "C1"})
    repeated = await desk.post(f"{HERE}/fees", Role.SHOP, json={"fee": "CONNECTION", "reference": "C1"})
    assert repeated.json() == paid.json() and repeated.headers["Idempotent-Replayed"] == "true"
    unknown = await desk.post(f"{HERE}/fees", json={"fee": "AIR"})
    assert unknown.status_code == 422 and "CONNECTION" in unknown.json()["detail"]
    owner = await desk.post(f"{HERE}/owner", json={})
    assert owner.json()["fee"] == "OWNERSHIP-CHANGE"


@rule("HOT-ACC-11")
async def test_another_sim_and_another_number(desk: Desk) -> None:
    swapped = await desk.post(f"{HERE}/sim", Role.SHOP, json={"imsi": "293400000000777"})
    assert swapped.json() == {"changed": True}
    assert (await desk.get(HERE)).json()["imsi"] == "293400000000777"
    taken = await desk.post(f"{HERE}/number", json={"msisdn": FOREIGN})
    assert taken.status_code == 409 and taken.json()["code"] == "exists"
    new = "38668200055"
    assert (await desk.post(f"{HERE}/number", json={"msisdn": new})).json() == {"changed": True}
    assert (await desk.post(f"{HERE}/number", json={"msisdn": new})).json() == {"changed": False}, "it finishes"
    assert (await desk.get(HERE)).status_code == 404
    assert (await desk.post(f"/v1/accounts/{new}/port-in", json={"msisdn": OWN})).json() == {"changed": True}
    assert (await desk.get(HERE)).status_code == 200


@rule("HOT-ACC-10")
async def test_pay_out_port_out_and_end(desk: Desk) -> None:
    refused = await desk.post(f"{HERE}/pay-out", json={"reason": "inactive"})
    assert refused.status_code == 409 and refused.json()["code"] == "state"
    elsewhere = await desk.post(f"{HERE}/pay-out", json={"reason": "port-out"})
    assert elsewhere.status_code == 422 and "port-out" in elsewhere.json()["detail"]
    unsure = await desk.post(f"{HERE}/port-out", json={"confirm_msisdn": FOREIGN})
    assert unsure.status_code == 422 and unsure.json()["code"] == "confirm_msisdn"
    body = {"confirm_msisdn": OWN, "reference": "P1"}
    out = await desk.post(f"{HERE}/port-out", once="p", json=body)
    assert out.json() == {"paid_out": "20.00", "shares": [], "unpaid": "0.00"}
    again = await desk.post(f"{HERE}/port-out", once="p", json=body)
    assert again.text == out.text and again.headers["Idempotent-Replayed"] == "true"
    assert (await desk.get(HERE)).status_code == 404
    ended = await desk.post(f"/v1/accounts/{FOREIGN}/end", json={"confirm_msisdn": FOREIGN})
    assert ended.json()["paid_out"] == "0.00"


# -- pools


@rule("HOT-PKG-14")
async def test_pools(desk: Desk) -> None:
    assert (await desk.get(f"{HERE}/pool")).json()["code"] == "no_pool"
    opened = await desk.post(f"{HERE}/pool", json={"name": "family"})
    assert opened.status_code == 201 and opened.json()["name"] == "family"
    joined = await desk.post(f"/v1/accounts/{FOREIGN}/pool/join", json={"of": OWN})
    assert joined.json()["name"] == "family"
    no_bucket = await desk.put(f"{HERE}/pool/limits/MINI.data", json={"quantity": "2 GB"})
    assert no_bucket.status_code == 404 and no_bucket.json()["code"] == "bucket"
    assert (await desk.delete(f"/v1/accounts/{FOREIGN}/pool")).json() == {"pool": None}


async def test_an_administrator_joins_no_foreign_pool(desk: Desk) -> None:
    """The number that the body names is checked as that of the path."""
    await desk.post(f"/v1/accounts/{FOREIGN}/pool", json={"name": "theirs"})
    answer = await desk.post(f"{HERE}/pool/join", Role.GROUP_ADMIN, json={"of": FOREIGN})
    assert answer.status_code == 404 and answer.json()["detail"] == f"there is no account with MSISDN {FOREIGN}"
