"""A newcomer's first commands, each in a folder of its own: creating settings, relative paths, and that reading creates
nothing.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import redis
import typer

from ocs.cli import main
from ocs.process.embedded_redis import EmbeddedRedis
from ocs.settings.base import RELATIVE_TO_FILE
from ocs.settings.loading import load_settings
from ocs.settings.schema import Settings
from tests.ocs.cli.conftest import Ocs
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[3]
SETTINGS = """
[[peer]]
origin_host = "pgw.example.net"
realm = "example.net"
[ledger]
durability = "everysec"
"""
NUMBER = "38668100000"
CREATE = ("account", "create", "--msisdn", NUMBER, "--imsi", "293400000000000", "--credit", "5")


def process(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `ocs` in a process of its own, as installed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OCS_")}
    return subprocess.run(
        [sys.executable, "-c", "from ocs.cli.main import run; run()", *words],
        cwd=cwd,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def home(tmp_path: Path, more: str = "") -> Path:
    """A folder with only a settings file."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "ocs.toml").write_text(SETTINGS + more, encoding="utf-8")
    return folder


def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# -- commands that read a ledger

OPENING = {"account create", "account open", "account import", "serve"}
"""Commands that create a ledger if there is none."""
WITHOUT_LEDGER = {
    *("check", "decode", "init", "catalogue check", "catalogue diff", "catalogue import-prices"),
    *("product list", "product show", "rate", "numbers check", "explain", "mandate new-key"),
}
OTHERS_FIRST = {
    *("mandate add", "mandate revoke", "mandate show", "sepa export", "sepa import"),
    *("notice list", "notice preview", "notice retry", "notice show", "history resume", "history show"),
    *("erase", "export", "import topups", "catalogue load"),
}
"""Commands that need something else too (settings of payments, the history, a file, another option), and miss that
first."""


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """(words, command) of all commands."""
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from leaves(inner, (*path, name))
    else:
        yield " ".join(path), command


COMMANDS = dict(leaves(typer.main.get_command(main.app)))
LOOKING = sorted(set(COMMANDS) - OPENING - WITHOUT_LEDGER - OTHERS_FIRST)
EXAMPLES = {
    "msisdn": [NUMBER],
    "amount": ["--amount", "1"],
    "reference": ["--reference", "r"],
    "package": ["--package", "MINI"],
    "bars": ["--bars", "data"],
    "partition": ["--partition", "3"],
    "kind": ["--kind", "bar"],
    "name": ["--name", "roaming"],
    "reason": ["--reason", "resale"],
    "imsi": ["--imsi", "293400000000001"],
    "fee": ["--fee", "FREEZE"],
    "new": ["--to", "38668100009"],
    "of": ["--of", "38668100009"],
    "product": ["MINI"],
    "on": ["--on", "2099-01-01"],
    "bucket": ["data"],
    "units": ["--units", "1"],
    "text": ["STANJE"],
    "role": ["--role", "care"],
    "key_id": ["0123456789ab"],
    "file": [str(ROOT / "config" / "catalogue.toml")],
    "language": ["sl"],
    "since": ["--from", "2026-11-01"],
    "until": ["--to", "2026-11-02"],
    "output": ["--output", "out.csv"],
    "group": ["acme"],
    "administrator": ["--administrator", NUMBER],
    "puk": ["--puk", "12345678"],
    "puk1": ["12345678"],
    "state": ["on"],
    "month": ["2026-10"],
    "sender": ["--from", NUMBER],
    "to": ["--to", "38668100009"],
    "signed": ["--signed", "2026-11-01"],
    "id_": ["1"],
    "order": ["p0-0123456789abcdef-01234567"],
    "batch": ["X1"],
    "count": ["--count", "1"],
    "value": ["--value", "10"],
    "voucher": ["1234567890123452"],
}


def example(parameter: Any) -> list[str]:
    words = EXAMPLES[parameter.name]
    if parameter.param_type_name == "argument":
        return words[-1:]
    return words if words[0].startswith("--") else [parameter.opts[0], *words]


def call_of(name: str) -> list[str]:
    """The command with an example for each required argument."""
    needed = [each for each in COMMANDS[name].params if each.required]
    return [
        *name.split(),
        *(word for each in needed for word in example(each)),
        *(["--yes"] if name in ("account terminate", "account port-out") else []),
    ]


@pytest.mark.parametrize("name", sorted(OTHERS_FIRST))
def test_commands_that_miss_something_else_create_nothing(
    tmp_path: Path, ocs_in: Ocs, empty_redis: str, name: str
) -> None:
    folder = home(tmp_path)
    status, out, error = ocs_in(*call_of(name), "--config", "ocs.toml", cwd=folder, OCS_REDIS_URL=empty_redis)
    assert status in (1, 2) and not out and error.startswith("ocs: ") and "internal error" not in error
    assert "there is no history yet" in error or not name.startswith(("history show", "notice list")), error
    assert names(folder) == ["ocs.toml"]
    with redis.Redis.from_url(empty_redis) as client:
        assert client.dbsize() == 0


@pytest.mark.parametrize("name", LOOKING)
def test_reading_commands_create_no_ledger(tmp_path: Path, ocs_in: Ocs, name: str) -> None:
    folder, other = home(tmp_path), elsewhere(tmp_path)
    status, out, error = ocs_in(*call_of(name), "--config", "../home/ocs.toml", cwd=other)
    assert (status, out) == (1, "")
    assert f"there is no ledger in {folder}/data/redis (server.data_dir)" in error
    assert "ocs serve" in error and len(error.splitlines()) == 1
    assert (names(folder), names(other)) == (["ocs.toml"], [])


@pytest.fixture(scope="module")
def empty_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedRedis(tmp_path_factory.mktemp("empty"), durability="everysec")
    yield server.acquire()
    server.release()


@pytest.mark.parametrize("name", LOOKING)
def test_an_empty_redis_stays_empty(tmp_path: Path, ocs_in: Ocs, empty_redis: str, name: str) -> None:
    folder = home(tmp_path)
    status, out, error = ocs_in(*call_of(name), "--config", "ocs.toml", cwd=folder, OCS_REDIS_URL=empty_redis)
    assert (status, out) == (1, "")
    assert "Redis holds no ledger" in error and "redis.url" in error
    assert names(folder) == ["ocs.toml"]
    with redis.Redis.from_url(empty_redis) as client:
        assert client.dbsize() == 0


# -- relative paths


def test_the_data_folder_is_relative_to_the_settings_file_from_any_folder(tmp_path: Path, ocs_in: Ocs) -> None:
    folder, here = home(tmp_path), elsewhere(tmp_path)
    assert ocs_in(*CREATE, "--config", "ocs.toml", cwd=folder).returncode == 0
    assert (folder / "data" / "redis").is_dir()
    for config in ("../home/ocs.toml", str(folder / "ocs.toml")):
        done = ocs_in("audit", "--json", "--config", config, cwd=here)
        assert (done.returncode, json.loads(done.stdout)["accounts"]) == (0, 1), done.stderr
    done = ocs_in("account", "show", NUMBER, cwd=here, OCS_CONFIG="../home/ocs.toml")
    assert done.returncode == 0 and "5.00 EUR" in done.stdout
    assert names(here) == []


def test_every_path_of_the_file_is_relative_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = home(tmp_path, '[server]\ndata_dir = "../store"\ncatalogue = "prices.toml"\n')
    monkeypatch.chdir(elsewhere(tmp_path))
    settings = load_settings(Path("../home/ocs.toml"), {})
    assert settings.data_dir == tmp_path / "store"
    assert Path(settings.server.catalogue).resolve() == folder / "prices.toml"
    from_environment = {"OCS_SERVER_DATA_DIR": "store", "OCS_SERVER_CATALOGUE": "prices.toml"}
    settings = load_settings(Path("../home/ocs.toml"), from_environment)
    assert (settings.server.data_dir, settings.server.catalogue) == ("store", "prices.toml")


def test_a_key_that_names_a_file_or_folder_is_relative_to_the_settings_file() -> None:
    """Such keys have the type PathText."""
    for name, section in Settings.model_fields.items():
        for model in {kind for kind in (section.annotation, *get_args(section.annotation)) if isinstance(kind, type)}:
            for key, field in getattr(model, "model_fields", {}).items():
                text = field.description or ""
                names_one = field.annotation is str and re.search(r"\b(a|an|PEM|text|CSV) (file|folder)\b", text)
                assert (RELATIVE_TO_FILE in field.metadata) == bool(names_one), f"{name}.{key}: {text}"
                assert RELATIVE_TO_FILE not in field.metadata or name not in ("peer", "profile"), "not looked at there"


def test_without_a_catalogue_the_shipped_one_is_used(tmp_path: Path, ocs_in: Ocs) -> None:
    folder = home(tmp_path)
    done = ocs_in(*CREATE[:-1], "20", "--package", "MAXI", "--config", "ocs.toml", cwd=folder)
    assert (done.returncode, done.stdout) == (0, f"opened {NUMBER}: credit 10.01 EUR, package MAXI\n"), done.stderr


def test_a_catalogue_beside_the_settings_is_used_before_the_shipped_one(tmp_path: Path, ocs_in: Ocs) -> None:
    folder = home(tmp_path)
    text = (ROOT / "config" / "catalogue.toml").read_text(encoding="utf-8")
    (folder / "catalogue.toml").write_text(text.replace("MAXI", "OWN"), encoding="utf-8")
    done = ocs_in(*CREATE, "--package", "MAXI", "--config", "ocs.toml", cwd=folder)
    assert done.returncode == 2 and "OWN" in done.stderr


def test_a_missing_catalogue_file_is_an_error(tmp_path: Path, ocs_in: Ocs) -> None:
    folder = home(tmp_path, '[server]\ncatalogue = "prices.toml"\n')
    done = ocs_in(*CREATE, "--config", "ocs.toml", cwd=folder)
    assert done.returncode == 1 and "prices.toml" in done.stderr and names(folder) == ["ocs.toml"]


# -- required settings


@pytest.mark.parametrize("words", [("audit",), ("account", "show", NUMBER), ("session", "list"), ("ledger", "show")])
def test_a_reading_command_needs_no_peer(tmp_path: Path, ocs_in: Ocs, words: tuple[str, ...]) -> None:
    """Only the server needs peers."""
    folder = home(tmp_path)
    assert ocs_in(*CREATE, "--config", "ocs.toml", cwd=folder).returncode == 0
    (folder / "looks.toml").write_text('[server]\ndata_dir = "data"\n', encoding="utf-8")
    done = ocs_in(*words, "--config", "looks.toml", cwd=folder)
    assert done.returncode == 0, done.stderr
    done = ocs_in("serve", "--config", "looks.toml", cwd=folder)
    assert done.returncode == 1
    assert done.stderr.startswith("ocs: looks.toml: nobody may connect: add a [[peer]]"), done.stderr


# -- an audit without accounts


def test_an_audit_of_no_accounts_says_so(tmp_path: Path, ocs_in: Ocs) -> None:
    folder = home(tmp_path)
    bad = folder / "bad.csv"
    bad.write_text("msisdn,imsi,package,credit\nx,y,,0\n", encoding="utf-8")
    assert ocs_in("account", "import", str(bad), "--config", "ocs.toml", cwd=folder).returncode == 1
    done = ocs_in("audit", "--config", "ocs.toml", cwd=folder)
    assert done.returncode == 0 and "the books are right" not in done.stdout
    assert "there are no accounts in this ledger: nothing was audited" in done.stdout
    assert ocs_in("session", "list", "--config", "ocs.toml", cwd=folder).stdout == "there are no open sessions\n"
    assert ocs_in(*CREATE, "--config", "ocs.toml", cwd=folder).returncode == 0
    assert "the books are right" in ocs_in("audit", "--config", "ocs.toml", cwd=folder).stdout


# -- first steps


@pytest.mark.parametrize("words", [("serve",), ("audit",), CREATE, ("ledger", "show")])
def test_without_a_settings_file_the_error_says_how_to_create_one(
    tmp_path: Path, ocs_in: Ocs, words: tuple[str, ...]
) -> None:
    for more, name in (((), "config/ocs.toml"), (("--config", "mine.toml"), "mine.toml")):
        done = ocs_in(*words, *more, cwd=tmp_path)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
        for text in (f"there is no settings file {name}", "ocs init", "--config", "OCS_CONFIG"):
            assert text in done.stderr
    (tmp_path / "folder").mkdir()
    done = ocs_in(*words, "--config", "folder", cwd=tmp_path)
    assert done.returncode == 2 and "folder is a folder" in done.stderr
    assert names(tmp_path) == ["folder"]


def test_init_writes_what_serve_and_the_others_find(tmp_path: Path, ocs_in: Ocs) -> None:
    done = ocs_in("init", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert names(tmp_path) == ["config", "config/catalogue.toml", "config/ocs.toml"]
    for text in ("config/ocs.toml", "config/catalogue.toml", f"{tmp_path}/data", "ocs serve"):
        assert text in done.stdout
    assert (tmp_path / "config/catalogue.toml").read_bytes() == (ROOT / "config/catalogue.toml").read_bytes()
    settings = load_settings(tmp_path / "config" / "ocs.toml", {})
    assert settings == load_settings(ROOT / "config" / "ocs.toml", {}).model_copy(update={"server": settings.server})
    assert ocs_in(*CREATE, cwd=tmp_path).returncode == 0
    assert ocs_in("account", "show", NUMBER, cwd=tmp_path).returncode == 0
    assert (tmp_path / "data" / "redis").is_dir()


def test_init_in_a_new_folder_keeps_all_files_in_it(tmp_path: Path, ocs_in: Ocs) -> None:
    done = ocs_in("init", "etc/charging", cwd=tmp_path)
    assert done.returncode == 0 and f"{tmp_path}/etc/charging/data" in done.stdout
    assert "ocs serve --config etc/charging/ocs.toml" in done.stdout
    assert load_settings(tmp_path / "etc/charging/ocs.toml", {}).data_dir == tmp_path / "etc/charging/data"


def test_check_reports_what_serve_would_and_starts_nothing(tmp_path: Path, ocs_in: Ocs) -> None:
    ocs_in("init", cwd=tmp_path)
    before = names(tmp_path)
    done = ocs_in("check", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(
        r"config/ocs\.toml: no mistakes; 5 peers\n.*/catalogue\.toml: no mistakes; \d+ packages, ", done.stdout
    )
    catalogue = tmp_path / "config/catalogue.toml"
    text = catalogue.read_text(encoding="utf-8")
    catalogue.write_text(text.replace("micro_eur = 2_900_000", "amount = 2_900_000"), encoding="utf-8")
    done = ocs_in("check", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "price.data-world-1.amount = 2900000: unknown; allowed here: illustrative, micro_eur" in done.stderr
    catalogue.write_text(text, encoding="utf-8")
    done = ocs_in("check", cwd=tmp_path, OCS_REDDIS_URL="redis://x")
    assert done.returncode == 0 and done.stderr.startswith("ocs: warning: ") and "OCS_REDDIS_URL" in done.stderr
    (tmp_path / "config/ocs.toml").write_text("[diameter]\n", encoding="utf-8")
    done = ocs_in("check", cwd=tmp_path)
    assert done.returncode == 1 and "peer" in done.stderr
    assert names(tmp_path) == before


@pytest.mark.parametrize("there", ["ocs.toml", "catalogue.toml"])
def test_init_overwrites_nothing(tmp_path: Path, ocs_in: Ocs, there: str) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / there).write_text("mine", encoding="utf-8")
    done = ocs_in("init", cwd=tmp_path)
    assert done.returncode == 1 and f"config/{there} exists already: nothing was written" in done.stderr
    assert names(tmp_path) == ["config", f"config/{there}"]
    assert (tmp_path / "config" / there).read_text(encoding="utf-8") == "mine"


def test_the_version_is_printed(tmp_path: Path) -> None:
    done = process("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"ocs {importlib.metadata.version('ocs')}\n")
    command = [sys.executable, "-c", "from simulator.cli import run; run()", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"ocs-sim {importlib.metadata.version('ocs')}\n")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("diameter.listen", '[diameter]\nlisten = ["127.0.0.1:0", "{}"]\n'),
        ("api.listen", '[api]\nlisten = "{}"\n'),
        ("metrics.listen", '[metrics]\nlisten = "{}"\n'),
    ],
)
def test_a_port_that_is_taken_names_its_key_and_what_to_do(tmp_path: Path, key: str, text: str) -> None:
    variable = "OCS_" + key.upper().replace(".", "_")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        others = {
            "OCS_DIAMETER_LISTEN": "127.0.0.1:0",
            "OCS_API_LISTEN": "127.0.0.1:0",
            "OCS_METRICS_LISTEN": "127.0.0.1:0",
        }
        others.pop(variable)
        folder = home(tmp_path, text.format(address))
        done = process("serve", "--config", "ocs.toml", cwd=folder, **others)
        by_environment = process("serve", "--config", "ocs.toml", cwd=folder, **others, **{variable: address})
    for each in (done, by_environment):
        last = each.stderr.splitlines()[-1]
        assert each.returncode == 1 and "Traceback" not in each.stderr
        for words in (key, variable, address, "another process uses it", "name another address"):
            assert words in last, each.stderr
