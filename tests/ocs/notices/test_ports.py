"""The ports: what a gateway gets, what its answers mean, and that a message is shown once."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest

from ocs.notices.log_port import LogPort
from ocs.notices.port import Answer, Message, Taken
from ocs.notices.signature import HEADER, is_signed, sign
from ocs.notices.webhook_port import WebhookPort
from tests.ocs.notices.gateway import Gateway, serving
from tests.rules import rule
from tests.waiting import PATIENCE_S

NOW = 1_795_000_000
SECRET = "s3cret"
MESSAGE = Message("p1-7.low-credit", "38668100000", "Vaše dobroimetje", "sl", "low-credit", NOW + 60)


def port_to(url: str, timeout_s: float = PATIENCE_S, secret: str = SECRET) -> WebhookPort:
    return WebhookPort(url, secret, timeout_s=timeout_s, connections=4, now=lambda: NOW)


async def sent(gateway: Gateway, timeout_s: float = PATIENCE_S) -> Answer:
    async with serving(gateway):
        port = port_to(gateway.url, timeout_s)
        try:
            return await port.send(MESSAGE)
        finally:
            await port.close()


async def test_the_gateway_gets_a_signed_message_with_its_key() -> None:
    gateway = Gateway()
    assert await sent(gateway) == Answer(Taken.YES, reference="sms-1")
    ((headers, body),) = gateway.requests
    assert headers["Idempotency-Key"] == MESSAGE.id
    assert is_signed(SECRET, body, headers[HEADER], NOW)
    assert not is_signed("another", body, headers[HEADER], NOW)
    assert json.loads(body) == {
        "id": "p1-7.low-credit",
        "to": "38668100000",
        "text": "Vaše dobroimetje",
        "language": "sl",
        "notice": "low-credit",
        "expires": "2026-11-18T11:07:40Z",
    }


@pytest.mark.parametrize(
    ("status", "headers", "answer"),
    [
        (202, {}, Answer(Taken.YES, reference="sms-1")),
        (400, {}, Answer(Taken.NO, "status 400")),
        (401, {}, Answer(Taken.NO, "status 401")),
        (404, {}, Answer(Taken.NO, "status 404")),
        (302, {"Location": "/other"}, Answer(Taken.NO, "status 302")),
        (408, {}, Answer(Taken.LATER, "status 408")),
        (429, {"Retry-After": "120"}, Answer(Taken.LATER, "status 429", after_s=120)),
        (500, {}, Answer(Taken.LATER, "status 500")),
        (503, {"Retry-After": "999999"}, Answer(Taken.LATER, "status 503", after_s=3600)),
        (503, {"Retry-After": "soon"}, Answer(Taken.LATER, "status 503")),
        (
            503,
            {"Retry-After": format_datetime(datetime.fromtimestamp(NOW + 90, UTC), usegmt=True)},
            Answer(Taken.LATER, "status 503", after_s=90),
        ),
    ],
)
async def test_what_an_answer_means(status: int, headers: dict[str, str], answer: Answer) -> None:
    assert await sent(Gateway(answer=lambda number, fields: (status, headers))) == answer


async def test_an_answer_that_comes_in_pieces_is_read_whole() -> None:
    assert await sent(Gateway(in_pieces=True)) == Answer(Taken.YES, reference="sms-1")


async def test_no_answer_in_time_and_no_gateway_mean_later() -> None:
    gateway = Gateway(delay_s=3)
    assert await sent(gateway, timeout_s=0.3) == Answer(Taken.LATER, "no answer in time")
    port = port_to(gateway.url)
    assert (await port.send(MESSAGE)).taken is Taken.LATER
    await port.close()


@rule("HOT-NOT-2")
async def test_a_message_that_is_sent_again_is_shown_once() -> None:
    gateway = Gateway()
    async with serving(gateway):
        port = port_to(gateway.url)
        await asyncio.gather(*(port.send(MESSAGE) for _ in range(5)))
        await port.close()
    assert len(gateway.requests) == 5 and list(gateway.shown) == [MESSAGE.id]


@pytest.mark.parametrize("header", ["", "t=1,v1=0", "v1=" + "0" * 64, f"t={NOW},v1=" + "0" * 64, "t=x,v1=y"])
def test_other_signatures_are_none(header: str) -> None:
    assert not is_signed(SECRET, b"body", header, NOW)


def test_a_signature_is_of_one_body_one_secret_and_five_minutes() -> None:
    header = sign(SECRET, b"body", NOW)
    assert is_signed(SECRET, b"body", header, NOW + 300) and is_signed(SECRET, b"body", header, NOW - 300)
    assert not is_signed(SECRET, b"body", header, NOW + 301) and not is_signed(SECRET, b"bodx", header, NOW)
    assert not is_signed("", b"body", sign("", b"body", NOW), NOW), "without a secret nothing is signed"


# -- the file


def lines(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text("utf-8").splitlines()]


def message(number: int) -> Message:
    return Message(f"p1-{number}.topup", "38668100000", "Račun je napolnjen", "sl", "topup", NOW + 60)


@rule("HOT-NOT-2")
async def test_a_message_is_in_the_file_once_also_after_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "notices.jsonl"
    port = LogPort(path)
    for number in (1, 2, 1, 2):
        assert (await port.send(message(number))).taken is Taken.YES
    with path.open("a") as file:
        file.write('{"id": "p1-3.topup", "to": "3866')  # killed while it wrote
    again = LogPort(path)
    for number in (1, 2, 3, 3):
        assert (await again.send(message(number))).taken is Taken.YES
    assert lines(path) == ["p1-1.topup", "p1-2.topup", "p1-3.topup"]


async def test_a_full_file_is_kept_once_and_its_ids_are_known(tmp_path: Path) -> None:
    path = tmp_path / "notices.jsonl"
    port = LogPort(path, rotate_octets=400)
    for number in range(1, 8):
        await port.send(message(number))
    older = lines(tmp_path / "notices.jsonl.1")
    assert older and lines(path) and len(older) + len(lines(path)) <= 7
    again = LogPort(path, rotate_octets=400)
    before = path.read_bytes()
    for number in (6, 7):
        await again.send(message(number))
    assert path.read_bytes() == before


async def test_a_folder_that_cannot_be_written_means_later(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = await LogPort(tmp_path / "file" / "notices.jsonl").send(message(1))
    assert (answer.taken, answer.reason.startswith("notices.jsonl: ")) == (Taken.LATER, True)
