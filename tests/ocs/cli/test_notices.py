"""`ocs notice preview`, and the check of texts by `ocs check` and `ocs catalogue`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.catalogue import CATALOGUE
from tests.ocs.cli.conftest import ROOT, Ocs

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


def test_a_long_text_is_a_warning(ocs_in: Ocs) -> None:
    done = ocs_in("catalogue", "check", str(CATALOGUE), cwd=ROOT)
    assert done.returncode == 0
    assert "notice.welcome.sl is up to 3 SMS long (155 characters in UCS-2)" in done.stderr
