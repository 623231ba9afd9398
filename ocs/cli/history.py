"""`ocs history`: the database of what people look up, and its loading (docs/HISTORY.md)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ocs.cli.common import DEFAULT, ConfigOption, FailedError, JsonOption, counted, load_all, print_json
from ocs.compose import Paths
from ocs.settings.schema import Settings

if TYPE_CHECKING:  # sqlalchemy takes a quarter of a second, and most commands need none
    from sqlalchemy import Engine

app = typer.Typer(help="Look at the history in SQL.", no_args_is_help=True)


@contextmanager
def history_database(settings: Settings) -> Iterator[Engine]:
    """The database, with its tables. FailedError: it cannot be used."""
    from ocs.history.engine import history_engine
    from ocs.history.errors import DATABASE_ERRORS, reason
    from ocs.history.migrating import check

    engine = history_engine(settings.history, settings.data_dir)
    try:
        check(engine)
        yield engine
    except DATABASE_ERRORS as error:
        raise FailedError(f"the database of history.url cannot be used: {reason(error)}") from error
    finally:
        engine.dispose()


@app.command()
def show(config: ConfigOption = DEFAULT, json: JsonOption = False) -> None:
    """Show up to where the charging records are loaded."""
    from ocs.history.reader import waiting_octets
    from ocs.history.resume import standing

    settings, _ = load_all(config)
    with history_database(settings) as engine:
        position = standing(engine)
    waiting = waiting_octets(Paths(settings.data_dir).records, position)
    if json:
        print_json({"file": position.name, "octets": position.offset, "waiting_octets": waiting})
    elif position.number:
        print(f"loaded up to octet {position.offset} of {position.name}; {counted(waiting, 'octet')} wait")
    else:
        print(f"nothing is loaded yet; {counted(waiting, 'octet')} wait")


@app.command()
def resume(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file in the folder of records.")],
    config: ConfigOption = DEFAULT,
) -> None:
    """Go on loading with this file of records, when the one before it is lost or damaged.

    Records that are loaded already are passed over.
    """
    from ocs.history.resume import ResumeError
    from ocs.history.resume import resume as resume_with

    settings, _ = load_all(config)
    with history_database(settings) as engine:
        try:
            resume_with(engine, Paths(settings.data_dir).records, file)
        except ResumeError as error:
            raise FailedError(str(error)) from error
    print(f"the loading goes on with {file}")
