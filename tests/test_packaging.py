"""The container image, tested without a container engine: the wheel in a clean environment, the folder layout, the
health check's command, and that compose.yaml, Dockerfile and config/ agree.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from ocs.settings.history_section import HistorySection
from ocs.settings.loading import load_settings
from ocs.settings.schema import parse_listen
from tests.ports import free_port
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[1]
HEALTH_ADDRESS = "127.0.0.1:9464"


def dockerfile() -> list[list[str]]:
    """Instructions of the Dockerfile, split into words."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text("utf-8"))
    return [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def copied_sources() -> list[str]:
    """Sources of COPY in the project (not in another stage), each once."""
    copies = [words[1:] for words in dockerfile() if words[0] == "COPY" and not words[1].startswith("--from")]
    return list(dict.fromkeys(source for words in copies for source in words[:-1]))


def image_environment() -> dict[str, str]:
    pairs = [word for words in dockerfile() if words[0] == "ENV" for word in words[1:]]
    return dict(pair.split("=", 1) for pair in pairs)


def health_command() -> list[str]:
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text("utf-8"))
    found = re.search(r"^HEALTHCHECK .*?CMD (\[.*\])$", text, re.MULTILINE)
    assert found is not None
    command = json.loads(found[1])
    assert command[0] == "python" and HEALTH_ADDRESS in command[2]
    return list(command)


def compose() -> dict[str, Any]:
    document = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    assert isinstance(document, dict)
    return document


# -- the wheel and the image's folder


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bin/ of a clean environment with the wheel, built from exactly the files that the Dockerfile copies.

    A .pth line makes this environment's dependencies available (but not its editable installation), so that the test
    does not install them again.
    """
    folder = tmp_path_factory.mktemp("image")
    source = folder / "src"
    source.mkdir()
    for name in copied_sources():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheels = folder / "wheels"
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), "."]
    subprocess.run(build, cwd=source, check=True, stdin=subprocess.DEVNULL)
    home = folder / "venv"
    venv.create(home, with_pip=False)
    (wheel,) = wheels.glob("ocs-*.whl")
    subprocess.run(
        [*pip, "--python", str(home / "bin" / "python"), "install", "--no-deps", "--no-index", str(wheel)],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    (site,) = home.glob("lib/python3*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    return home / "bin"


@pytest.fixture(scope="module")
def work_folder(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's WORKDIR: a copy of config/, nothing else of the project."""
    folder = tmp_path_factory.mktemp("workdir")
    shutil.copytree(ROOT / "config", folder / "config")
    return folder


def run(image: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [str(image / arguments[0]), *arguments[1:]]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_the_wheel_holds_code_and_data_and_nothing_else(image: Path, work_folder: Path) -> None:
    done = run(image, "python", "-c", "import ocs, os; print(os.path.dirname(ocs.__file__))", cwd=work_folder)
    site = Path(done.stdout.strip()).parent
    assert image.parent in site.parents, "this environment's own ocs was imported, not the wheel's"
    for package in ("ocs", "protocol", "simulator"):
        assert {path.name for path in (site / package).rglob("*") if path.is_file() and path.suffix != ".pyc"} == {
            path.name for path in (ROOT / package).rglob("*") if path.is_file() and path.suffix != ".pyc"
        }
    assert not (site / "tests").exists()
    assert not (site / "benchmarks").exists()


@pytest.mark.parametrize("command", ["ocs", "ocs-sim"])
def test_both_commands_work_from_the_wheel(image: Path, work_folder: Path, command: str) -> None:
    done = run(image, command, "--help", cwd=work_folder)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_the_simulator_finds_its_scenarios_and_the_image_its_catalogue(image: Path, work_folder: Path) -> None:
    done = run(image, "ocs-sim", "subscribers", "out.csv", cwd=work_folder)
    assert done.returncode == 0, done.stderr
    assert len((work_folder / "out.csv").read_text("utf-8").splitlines()) == 2001


def test_the_wheel_brings_the_settings_and_the_catalogue_to_begin_with(image: Path, tmp_path: Path) -> None:
    assert run(image, "ocs", "init", cwd=tmp_path).returncode == 0
    for name in ("ocs.toml", "catalogue.toml"):
        assert (tmp_path / "config" / name).read_bytes() == (ROOT / "config" / name).read_bytes()
    done = run(image, "ocs", "audit", cwd=tmp_path)
    assert done.returncode == 1 and "there is no ledger in" in done.stderr


# -- the version


def version_in(folder: Path, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SETUPTOOLS_SCM")}
    done = subprocess.run(
        [sys.executable, "-m", "setuptools_scm"],
        cwd=folder,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of the commit without tags, with this pyproject.toml."""
    subprocess.run(["git", "clone", "-q", "--no-tags", str(ROOT), str(tmp_path / "clone")], check=True)
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "clone")
    return tmp_path / "clone"


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no clone")
def test_the_version_is_that_of_the_tag(clone: Path) -> None:
    assert re.match(r"0\.\d+\.\d+\.dev\d+\+g", version_in(clone)), "there is no tag"
    git = ["git", "-C", str(clone), "-c", "user.name=a", "-c", "user.email=a@example.net"]
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-a", "-m", "release"], check=True)
    subprocess.run([*git, "tag", "v7.8.9"], check=True)
    assert version_in(clone) == "7.8.9"
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "after"], check=True)
    assert version_in(clone).startswith("7.8.10.dev1")


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no clone")
def test_an_archive_and_an_image_have_a_version_too(clone: Path, tmp_path: Path) -> None:
    build = "import sys; from setuptools.build_meta import build_sdist; print(build_sdist(sys.argv[1]))"
    subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)],
        cwd=clone,
        check=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )
    (archive,) = tmp_path.glob("ocs-*.tar.gz")
    shutil.unpack_archive(archive, tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    assert version_in(source) == archive.name.removeprefix("ocs-").removesuffix(".tar.gz")
    for left in (clone / ".git", clone / "ocs.egg-info"):
        shutil.rmtree(left)
    assert version_in(clone) == "0.1.0"
    assert version_in(clone, SETUPTOOLS_SCM_PRETEND_VERSION_FOR_OCS="") == "0.1.0", "the image without --build-arg"
    assert version_in(clone, SETUPTOOLS_SCM_PRETEND_VERSION_FOR_OCS="2.3.4") == "2.3.4"


# -- a server as the image runs it, and its health check


@pytest.fixture(scope="module")
def server(image: Path, work_folder: Path) -> Iterator[int]:
    """`ocs serve` with the image's environment, except addresses and folder; returns the port of /health."""
    health = free_port()
    environment = {
        **os.environ,
        **image_environment(),
        "OCS_SERVER_DATA_DIR": str(work_folder / "data"),
        "OCS_DIAMETER_LISTEN": "127.0.0.1:0",
        "OCS_API_LISTEN": "127.0.0.1:0",
        "OCS_METRICS_LISTEN": f"127.0.0.1:{health}",
    }
    environment.pop("OCS_REDIS_URL", None)
    words = [word for words in dockerfile() if words[0] in ("ENTRYPOINT", "CMD") for word in json.loads(words[1])]
    with (work_folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [str(image / words[0]), *words[1:]],
            cwd=work_folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield health
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def health_status(image: Path, port: int) -> int:
    """Exit status of the Dockerfile's health check."""
    command = [word.replace(HEALTH_ADDRESS, f"127.0.0.1:{port}") for word in health_command()]
    return subprocess.run([str(image / command[0]), *command[1:]], capture_output=True, check=False).returncode


def test_the_health_check_is_0_with_a_server_and_1_without(image: Path, server: int, work_folder: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while health_status(image, server) != 0:
        assert time.monotonic() < end, (work_folder / "server.log").read_text("utf-8", "replace")
        time.sleep(0.1)
    assert health_status(image, free_port()) == 1


# -- Dockerfile, compose.yaml and config/ agree


def test_the_dockerfile_copies_what_is_there_and_not_ignored() -> None:
    kept = {
        line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[:1] == "!"
    }
    assert set(copied_sources()) == kept
    assert all((ROOT / name).exists() for name in kept)


def test_the_image_runs_as_somebody_who_owns_the_data_folder() -> None:
    words = dockerfile()
    (user,) = [line[1] for line in words if line[0] == "USER"]
    assert user == "ocs"
    making = next(" ".join(line) for line in words if line[0] == "RUN" and "useradd" in line)
    data_dir = image_environment()["OCS_SERVER_DATA_DIR"]
    assert f"-o {user}" in making and data_dir in shlex.split(making)
    assert [line[1] for line in words if line[0] == "VOLUME"] == [data_dir]


def test_the_images_settings_are_good_and_its_ports_exposed(tmp_path: Path) -> None:
    environment = {name: value for name, value in image_environment().items() if name.startswith("OCS_")}
    settings = load_settings(ROOT / "config" / "ocs.toml", environment)
    assert Path(settings.server.catalogue).is_file()
    listens = [*settings.diameter.listen, settings.api.listen, settings.metrics.listen]
    (exposed,) = [line[1:] for line in dockerfile() if line[0] == "EXPOSE"]
    assert [str(parse_listen(text)[1]) for text in listens] == exposed
    shipped = load_settings(ROOT / "config" / "ocs.toml", {})
    shipped_listens = [*shipped.diameter.listen, shipped.api.listen, shipped.metrics.listen]
    assert [parse_listen(text)[1] for text in shipped_listens] == [parse_listen(text)[1] for text in listens]


def test_compose_starts_a_redis_that_syncs_every_write() -> None:
    services = compose()["services"]
    assert {name for name, service in services.items() if "profiles" not in service} == {
        *("redis", "ocs", "prometheus", "alertmanager", "grafana"),
    }
    command = services["redis"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--appendfsync") + 1] == "always"
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    url = urlsplit(services["ocs"]["environment"]["OCS_REDIS_URL"])
    assert url.hostname == "redis"
    assert services["ocs"]["depends_on"]["redis"]["condition"] == "service_healthy"


def test_compose_names_files_volumes_and_ports_that_exist() -> None:
    document = compose()
    (exposed,) = [line[1:] for line in dockerfile() if line[0] == "EXPOSE"]
    for name, service in document["services"].items():
        for volume in service.get("volumes", ()):
            source, target = volume.split(":")[:2]
            if source.startswith("."):
                assert (ROOT / source).exists(), f"{name}: {source}"
            else:
                assert source in document["volumes"], f"{name}: {source}"
            assert target.startswith("/")
    published = [port.split(":")[-1] for port in document["services"]["ocs"]["ports"]]
    assert set(published) <= set(exposed)
    (workdir,) = [line[1] for line in dockerfile() if line[0] == "WORKDIR" and line[1] != "/src"]
    assert f"./config:{workdir}/config:ro" in document["services"]["ocs"]["volumes"]


def test_prometheus_scrapes_the_service_of_compose() -> None:
    (target,) = [
        target
        for job in yaml.safe_load((ROOT / "config" / "prometheus" / "prometheus.yml").read_text("utf-8"))[
            "scrape_configs"
        ]
        for static in job["static_configs"]
        for target in static["targets"]
    ]
    host, port = parse_listen(target)
    assert host in compose()["services"]
    assert str(port) == image_environment()["OCS_METRICS_LISTEN"].rpartition(":")[2]


def test_the_images_wheel_has_the_version_the_project_names(image: Path, work_folder: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools_scm"]["fallback_version"]
    code = "import importlib.metadata as m; print(m.version('ocs'))"
    assert run(image, "python", "-c", code, cwd=work_folder).stdout.strip() == version


# -- make test's own tools


def test_missing_tools_are_named_with_the_command_that_installs_them(tmp_path: Path) -> None:
    for name in ("bash", "id"):
        (tmp_path / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    done = subprocess.run(
        [str(tmp_path / "bash"), str(ROOT / ".ci" / "tools")],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    for tool in ("redis-server", "tshark", "strace"):
        assert tool in done.stderr
    assert "apt-get install" in done.stderr


def test_compose_starts_a_postgresql_for_the_history_on_demand() -> None:
    services = compose()["services"]
    postgres = services["postgres"]
    assert postgres["profiles"] == ["postgres"]
    commented = re.search(r"# OCS_HISTORY_URL: (\S+)", (ROOT / "compose.yaml").read_text("utf-8"))
    assert commented is not None
    url = urlsplit(HistorySection(url=commented[1]).url)
    of = postgres["environment"]
    assert (url.username, url.password, url.hostname) == (of["POSTGRES_USER"], of["POSTGRES_PASSWORD"], "postgres")
    assert url.path == f"/{of['POSTGRES_DB']}"
