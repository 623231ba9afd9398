"""Brings the SQL database to the newest version of its tables, by Alembic; several processes may try at once.

Alembic is imported when it is used: API and commands seldom need it, and it takes a fifth of a second.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, text

from ocs.history.errors import SchemaError

if TYPE_CHECKING:
    from alembic.config import Config

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK_KEY = 0x6F63735F68697374
"""Key of PostgreSQL's advisory lock: "ocs_hist"."""


def configuration() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def newest() -> str:
    """The revision of the tables that this version of ocs works with."""
    from alembic.script import ScriptDirectory

    head = ScriptDirectory.from_config(configuration()).get_current_head()
    assert head is not None
    return head


def revision(connection: Connection) -> str | None:
    """The revision of the database's tables; None = it has none."""
    from alembic.runtime.migration import MigrationContext

    return MigrationContext.configure(connection).get_current_revision()


def migrate(engine: Engine) -> None:
    """SchemaError: the tables are of a newer ocs."""
    from alembic import command
    from alembic.script import ScriptDirectory

    config = configuration()
    known = {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()}
    with _locked(engine), engine.begin() as connection:
        found = revision(connection)
        if found is not None and found not in known:
            raise SchemaError(
                f"the tables in the database of history.url are of a newer version of ocs ({found}):"
                " install that version, or name another database"
            )
        if found != newest():
            log.info(
                "the tables in the database of history.url are brought from %s to %s", found or "nothing", newest()
            )
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def check(engine: Engine) -> None:
    """For readers. SchemaError: the tables are not those of this version of ocs."""
    with engine.connect() as connection:
        found = revision(connection)
    if found != newest():
        raise SchemaError(
            "the database of history.url has no tables of this version of ocs yet: the backoffice of `ocs serve` makes"
            " them when it starts"
        )


@contextlib.contextmanager
def _locked(engine: Engine) -> Iterator[None]:
    """One process migrates at a time; the others wait."""
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK_KEY})
            connection.commit()
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK_KEY})
        return
    assert engine.url.database is not None
    file = Path(engine.url.database)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(file.name + ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
