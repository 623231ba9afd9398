"""The table [api]: nothing but loopback in clear, files that fit, origins that are origins."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocs.settings.loading import SettingsError, load_settings

PEER = '[[peer]]\norigin_host = "pgw.example.net"\nrealm = "example.net"\n'


def load(folder: Path, api: str) -> None:
    (folder / "ocs.toml").write_text(f"{PEER}[api]\n{api}\n", encoding="utf-8")
    load_settings(folder / "ocs.toml", {})


@pytest.mark.parametrize(
    "api",
    ['listen = ""', 'listen = "127.0.0.1:0"', 'listen = "0.0.0.0:8080"\nplain = true', 'listen = "[::1]:8080"'],
)
def test_what_is_allowed(tmp_path: Path, api: str) -> None:
    load(tmp_path, api)


@pytest.mark.parametrize(
    ("api", "says"),
    [
        ('listen = "0.0.0.0:8080"', "keys would travel in clear"),
        ('listen = "8080"', "host:port"),
        ('certificate = "x.pem"', "needed together"),
        ('certificate = "x.pem"\nkey = "y.pem"', "cannot be used with its key"),
        ('origins = ["shop.example.net"]', "is no origin"),
        ('origins = ["https://shop.example.net/"]', "is no origin"),
        ("requests_per_s = 0", "1 to 100000"),
    ],
)
def test_what_is_refused(tmp_path: Path, api: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, api)
    assert says in str(caught.value) and "api" in str(caught.value)
