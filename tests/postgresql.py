"""A private PostgreSQL cluster for tests: on a Unix socket only, of an unprivileged user, ended by process id."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ocs.process.processes import die_with_parent
from tests.waiting import PATIENCE_S

UNPRIVILEGED = ("postgres", "nobody")
"""Users that may run the server if the tests run as root, which it refuses."""
PORT = 5432
"""Only part of the socket's name: it listens on no network."""


def program(name: str) -> str:
    """Path of one of PostgreSQL's programs; Debian keeps them out of the path."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: -int(folder.parent.name))
    found = shutil.which(name, path=os.pathsep.join([*map(str, folders), os.environ["PATH"]]))
    assert found is not None, f"{name} is missing: make tools installs PostgreSQL"
    return found


class PostgreSQL:
    """One cluster in a folder of its own below /tmp, as the name of a socket is limited to 107 octets."""

    def __init__(self, *options: str) -> None:
        self._options = options
        self._folder = Path(tempfile.mkdtemp(prefix="ocs-pg-"))
        self._data = self._folder / "data"
        self._user: str | None = None
        if os.getuid() == 0:
            self._user = next(name for name in UNPRIVILEGED if _exists(name))
            os.chown(self._folder, pwd.getpwnam(self._user).pw_uid, -1)
        self._run("initdb", "-D", str(self._data), "-U", "ocs", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://ocs@/{database}?host={self._folder}&port={PORT}"

    def start(self) -> None:
        settings = {"listen_addresses": "", "unix_socket_directories": str(self._folder), "port": str(PORT)}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [program("postgres"), "-D", str(self._data), *words, *self._options]
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, user=self._user, stdout=log, stderr=log, process_group=0, preexec_fn=_end_with_the_tests
            )
        self._run("pg_isready", "-h", str(self._folder), "-p", str(PORT), "-t", "30", tries=300)

    def stop(self, *, kill: bool = False) -> None:
        """SIGINT is PostgreSQL's fast shutdown, SIGQUIT the immediate one, as after a crash."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT if kill else signal.SIGINT)
            self.process.wait(PATIENCE_S)
            self.process = None

    def create(self, database: str, template: str = "") -> str:
        """A database, empty or as the template, to which nobody may be connected; returns its URL."""
        of = ("-T", template) if template else ()
        self._run("createdb", "-h", str(self._folder), "-p", str(PORT), "-U", "ocs", *of, database)
        return self.url(database)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def _run(self, name: str, *arguments: str, tries: int = 1) -> None:
        command: Sequence[str] = [program(name), *arguments]
        for _ in range(tries):
            done = subprocess.run(command, user=self._user, cwd="/", capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return
        raise AssertionError(f"{name}: {done.stdout}{done.stderr}")


def _end_with_the_tests() -> None:
    """Also when they are killed. The signal asks PostgreSQL to end at once."""
    die_with_parent(signal.SIGQUIT)


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
