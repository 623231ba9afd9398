"""`ocs notice preview`, and the check of texts by `ocs check` and `ocs catalogue`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ocs.history.engine import history_engine, writing
from ocs.history.migrating import migrate
from ocs.notices import queue
from ocs.notices.queue import NewNotice, Outcome
from ocs.notices.states import State
from ocs.settings.history_section import HistorySection
from tests.catalogue import CATALOGUE
from tests.conftest import RedisServer
from tests.ocs.cli.conftest import ROOT, Ocs
from tests.ocs.notices.office import write_config
from tests.ocs.rules.world import world_on

BROKEN = '\n[notice.broken]\nevent = "topup"\nsl = "{{ amont|eur }}"\nen = "Thanks"\n'


def test_a_preview_shows_both_languages_and_the_length(ocs_in: Ocs) -> None:
    done = ocs_in("notice", "preview", "low-credit", cwd=ROOT)
    assert done.stdout.splitlines() == [
        "sl  Vaše dobroimetje je 5,00 EUR. Napolnite račun, da boste storitve lahko uporabljali naprej.  "
        "(2 SMS, 90 characters in UCS-2)",
        "en  Your credit is 5.00 EUR. Top up to keep using your services.  (1 SMS, 60 characters in GSM-7)",
    ]
    (row,) = json.loads(ocs_in("notice", "preview", "low-credit", "--lang", "en", "--json", cwd=ROOT).stdout)
    assert (row["language"], row["encoding"], row["sms"]) == ("en", "GSM-7", 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [(("nothing",), "there is no notice 'nothing'; there are account-"), (("topup", "--lang", "de"), "--lang 'de'")],
)
def test_a_wrong_preview_is_a_wrong_call(ocs_in: Ocs, words: tuple[str, ...], said: str) -> None:
    done = ocs_in("notice", "preview", *words, cwd=ROOT)
    assert done.returncode == 2 and said in done.stderr


def test_every_notice_of_the_catalogue_has_a_preview(ocs_in: Ocs) -> None:
    wrong = ocs_in("notice", "preview", "nothing", cwd=ROOT).stderr
    for name in wrong.rpartition("there are ")[2].strip().split(", "):
        assert ocs_in("notice", "preview", name, cwd=ROOT).returncode == 0, name


@pytest.mark.parametrize("words", [("check",), ("catalogue", "check"), ("catalogue", "load", "next.toml")])
def test_a_text_with_a_mistake_is_refused(ocs_in: Ocs, tmp_path: Path, words: tuple[str, ...]) -> None:
    assert ocs_in("init", str(tmp_path), cwd=tmp_path).returncode == 0
    text = CATALOGUE.read_text("utf-8")
    (tmp_path / "next.toml").write_text(text.replace('version = "1"', 'version = "2"') + BROKEN, "utf-8")
    if words[-1] != "next.toml":
        (tmp_path / "catalogue.toml").write_text(text + BROKEN, "utf-8")
    done = ocs_in(*words, "--config", str(tmp_path / "ocs.toml"), cwd=tmp_path)
    assert done.returncode == 1, done
    assert (
        "notice.broken.sl = '{{ amont|eur }}': amont: the event has no such field; it has active_until, " in done.stderr
    )


def test_a_preview_of_a_version_that_is_not_in_force(ocs_in: Ocs, tmp_path: Path) -> None:
    text = CATALOGUE.read_text("utf-8").replace("Top up to keep using", "Top up now to keep using")
    (tmp_path / "next.toml").write_text(text, "utf-8")
    words = "notice", "preview", "low-credit", "--lang", "en", "--catalogue", str(tmp_path / "next.toml")
    assert "Top up now to keep using your services." in ocs_in(*words, cwd=ROOT).stdout


def test_a_long_text_is_a_warning(ocs_in: Ocs, tmp_path: Path) -> None:
    text = CATALOGUE.read_text("utf-8").replace("V sili: 112.", "V sili: 112. " + "č" * 67)
    (tmp_path / "long.toml").write_text(text, "utf-8")
    done = ocs_in("catalogue", "check", str(tmp_path / "long.toml"), cwd=ROOT)
    assert done.returncode == 0
    assert "notice.welcome.sl is up to 3 SMS long" in done.stderr
    assert ocs_in("catalogue", "check", str(CATALOGUE), cwd=ROOT).stderr == ""


NOW = 1_795_000_000


def notice(event_id: str, account: str, msisdn: str) -> NewNotice:
    return NewNotice(event_id, "topup", account, msisdn, "sl", f"Napolnjeno {event_id}", 2, False, NOW, NOW + 3600)


@pytest.fixture
async def config(redis_7: RedisServer, tmp_path: Path) -> str:
    """Two subscribers with a notice each: one was given up, one waits."""
    async with world_on(redis_7.url) as world:
        users = [await world.subscriber(5) for _ in range(2)]
    engine = history_engine(HistorySection(), tmp_path)
    migrate(engine)
    notices = [notice(f"p00-{n}", each.account_id, each.msisdn) for n, each in enumerate(users, 1)]
    with writing(engine) as connection:
        queue.put(connection, [], notices, now=NOW, most_of_account=9, most=9)
        (first,) = queue.claim(connection, owner="a", now=NOW, lease_s=9, limit=1)
        queue.finish(connection, [Outcome(first.id, State.GIVEN_UP, "status 500")], owner="a", now=NOW)
    engine.dispose()
    return str(write_config(tmp_path, redis_7.url, ""))


def test_notices_are_listed_shown_and_sent_again(ocs_in: Ocs, config: str) -> None:
    def ocs(*words: str) -> tuple[int, str, str]:
        return ocs_in("notice", *words, "--config", config, cwd=ROOT)

    assert ocs("list").stdout.splitlines() == [  # type: ignore[attr-defined]
        "2026-11-18T12:06:40+01:00  38668100002  waiting  p00-2.topup",
        "    Napolnjeno p00-2",
        "2026-11-18T12:06:40+01:00  38668100001  given_up (status 500)  p00-1.topup",
        "    Napolnjeno p00-1",
    ]
    (row,) = json.loads(ocs("list", "--state", "given_up", "--json")[1])
    assert (row["id"], row["attempts"], row["reason"]) == ("p00-1.topup", 1, "status 500")
    (row,) = json.loads(ocs("list", "--msisdn", "38668100002", "--json")[1])
    assert row["id"] == "p00-2.topup"
    assert ocs("retry", "p00-1.topup")[1] == "p00-1.topup: waits to be sent again\n"
    assert json.loads(ocs("show", "p00-1.topup")[1])["state"] == "waiting"
    status, _, error = ocs("retry", "p00-1.topup")
    assert status == 1 and "is waiting: only one that is failed or given_up can be sent again" in error
    assert ocs("show", "p00-9.x")[::2] == (1, "ocs: there is no notice p00-9.x\n")
    assert ocs("list", "--state", "lost")[0] == 2
