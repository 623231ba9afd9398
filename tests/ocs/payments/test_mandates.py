"""Mandates: what they may be, that they are encrypted, and that nothing of them is shown or logged."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

import pytest
from cryptography.fernet import Fernet, MultiFernet

from ocs.accounts.errors import InputError
from ocs.payments.mandates import Mandates, new_key, provider_mandate, read_keys, sepa_mandate
from ocs.payments.signing import SecretError
from tests.conftest import RedisServer
from tests.ocs.ledger.books import nodes
from tests.ocs.payments.till import IBAN, Till, till_on

SIGNED = date(2026, 10, 1)


@pytest.fixture
async def till(redis_7: RedisServer) -> AsyncIterator[Till]:
    async with till_on(redis_7.url) as till:
        yield till


def test_a_mandate_has_a_valid_iban_and_the_bic_of_its_bank() -> None:
    mandate = sepa_mandate(iban="SI56 1920 0123 4567 892", name=" Ana Žagar ", signed_on=SIGNED)
    assert (mandate.iban, mandate.bic, mandate.name) == (IBAN, "SZKBSI2XXXX", "Ana Žagar")
    assert mandate.masked == "SI56…892"
    assert IBAN not in repr(mandate)


@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("iban", {"iban": "SI56192001234567893"}),
        ("iban", {"iban": ""}),
        ("bic", {"bic": "NOTABIC"}),
        ("name", {"name": " "}),
        ("name", {"name": "x" * 71}),
        ("mandate", {"mandate_id": "x" * 36}),
        ("mandate", {"mandate_id": "ž"}),
    ],
)
def test_mistakes_are_named_and_an_iban_is_not_repeated(code: str, more: dict[str, str]) -> None:
    with pytest.raises(InputError) as refused:
        sepa_mandate(**{"iban": IBAN, "name": "Ana", "signed_on": SIGNED, **more})
    assert refused.value.code == code
    assert "SI56" not in str(refused.value)


async def test_mandates_are_encrypted_and_the_key_can_be_changed(till: Till, tmp_path: Path) -> None:
    await till.mandates.put("aone", sepa_mandate(iban=IBAN, name="Ana", signed_on=SIGNED))
    for client in nodes(till.ledger):
        with client:
            for key in client.scan_iter():
                if client.type(key) == b"string":
                    stored = client.get(key)
                    assert isinstance(stored, bytes)
                    assert IBAN.encode() not in stored
    old, new = Fernet(Fernet.generate_key()), Fernet(Fernet.generate_key())
    await Mandates(till.ledger, MultiFernet([old])).put("btwo", provider_mandate(token="t", name="A", signed_on=SIGNED))
    found = await Mandates(till.ledger, MultiFernet([new, old])).read("btwo")
    assert found is not None
    assert found.token == "t"
    with pytest.raises(SecretError, match="encrypted by a key"):
        await Mandates(till.ledger, MultiFernet([new])).read("btwo")


async def test_a_mandate_is_replaced_and_revoked(till: Till) -> None:
    first = sepa_mandate(iban=IBAN, name="Ana", signed_on=SIGNED)
    await till.mandates.put("aone", first)
    second = sepa_mandate(iban=IBAN, name="Ana", signed_on=SIGNED)
    await till.mandates.put("aone", second)
    assert await till.mandates.read("aone") == second
    await till.mandates.note_first("aone", first.id, "order")  # of the mandate before: nothing happens
    assert await till.mandates.read("aone") == second
    assert await till.mandates.revoke("aone")
    assert not await till.mandates.revoke("aone")
    assert await till.mandates.read("aone") is None


def test_a_new_key_is_for_its_owner_only_and_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "key"
    new_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_keys(str(path)).decrypt(read_keys(str(path)).encrypt(b"x")) == b"x"
    with pytest.raises(FileExistsError):
        new_key(path)
    path.write_text("nothing")
    with pytest.raises(SecretError, match="must have keys"):
        read_keys(str(path))
