"""The payment provider as a program of its own."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from aiohttp import ClientSession

from simulator.payment_provider import Behaviour, PaymentProvider
from tests.waiting import PATIENCE_S, until


def signed(secret: bytes, method: str, path: str, body: bytes) -> dict[str, str]:
    """Headers of a request that it takes (docs/PAYMENTS.md)."""
    at = str(int(time.time()))
    digest = hmac.new(secret, b".".join((at.encode(), f"{method} {path}".encode(), body)), hashlib.sha256).hexdigest()
    return {"OCS-Timestamp": at, "OCS-Signature": f"v1={digest}", "Idempotency-Key": json.loads(body)["id"]}


async def test_a_debit_is_paid_by_itself_and_a_one_off_payment_by_its_payer() -> None:
    provider = PaymentProvider(b"s" * 32, b"w" * 32, "", Behaviour(settles_after_s=0.0))
    await provider.start()
    try:
        async with ClientSession() as session:
            for path, more in (("/debits", {"token": "t"}), ("/payments", {"return_url": ""})):
                body = json.dumps({"id": path, "amount": "5.00", "currency": "EUR", **more}).encode()
                headers = signed(b"s" * 32, "POST", path, body)
                async with session.post(provider.url + path, data=body, headers=headers) as answer:
                    assert answer.status == 201
            await until(lambda: provider.taken["/debits"].status == "succeeded")
            assert provider.taken["/payments"].status == "pending"
            async with session.post(provider.taken["/payments"].redirect_url) as answer:
                assert await answer.text() == "paid"
            assert provider.taken["/payments"].status == "succeeded"
    finally:
        await provider.close()


def test_it_serves_and_refuses_who_does_not_sign(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s" * 32)
    (tmp_path / "webhook").write_text("whsec_d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3")
    files = ("--secret-file", str(tmp_path / "secret"), "--webhook-secret-file", str(tmp_path / "webhook"))
    command = [sys.executable, "-m", "simulator.payment_provider", "--listen", "127.0.0.1:0", *files]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{url}/debits/1", timeout=PATIENCE_S)
            with refused.value as error:
                assert error.code == 401
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
