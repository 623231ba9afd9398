"""`ocs notice …`: texts that subscribers are sent (HOT-NOT-1)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ocs.accounts import inputs
from ocs.catalogue.catalogue import Catalogue, load_catalogue
from ocs.catalogue.versions import Catalogues
from ocs.cli.common import (
    DEFAULT,
    Backend,
    ConfigOption,
    FailedError,
    JsonOption,
    WrongCallError,
    load_all,
    print_json,
    with_backend,
)
from ocs.cli.history import history_database
from ocs.compose import environment_of
from ocs.ledger.redis.installation import OpenMode
from ocs.values.identities import MSISDN_EXAMPLE
from ocs.values.language import LANGUAGES

if TYPE_CHECKING:
    from ocs.notices.service import NoticeService

T = TypeVar("T")
MAX_LISTED = 1_000

app = typer.Typer(help="Texts that subscribers are sent: preview, list, send again.", no_args_is_help=True)

LanguageOption = Annotated[str, typer.Option("--lang", help="sl or en; without it, both.")]


@app.callback()
def _notice() -> None:
    """Texts that subscribers are sent."""


def check_texts(versions: Iterable[tuple[str, Catalogue]]) -> int:
    """The number of notices of the last of (file, version). Warns of long texts. CatalogueError lists every mistake."""
    from ocs.notices.check import LONG_SEGMENTS, checked

    versions = list(versions)
    for file, version in versions:
        for each in checked([(file, version)]):
            if each.size.segments > LONG_SEGMENTS:
                size = f"{each.size.segments} SMS long ({each.size.units} characters in {each.size.encoding})"
                print(f"ocs: warning: {file}: notice.{each.notice}.{each.language} is up to {size}", file=sys.stderr)
    return len(versions[-1][1].tables.sections["notice"]) if versions else 0


@app.command()
def preview(
    name: Annotated[str, typer.Argument(help="A notice of the catalogue, such as low-credit.")],
    language: LanguageOption = "",
    file: Annotated[
        Path | None, typer.Option("--catalogue", help="A version that is not in force, such as next.toml.")
    ] = None,
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Show a text with an example of its event, and its length in SMS."""
    from ocs.notices.check import checked, examples
    from ocs.notices.compiled import Notices
    from ocs.values.sms_text import sms_size

    if language and language not in LANGUAGES:
        raise WrongCallError(f"--lang {language!r}: texts are in {' and '.join(LANGUAGES)}")
    catalogue = load_catalogue(file) if file is not None else load_all(config)[1].in_force()
    checked([("the catalogue", catalogue)])
    notices = Notices(catalogue)
    if name not in notices.by_name:
        raise WrongCallError(f"there is no notice {name!r}; there are {', '.join(sorted(notices.by_name))}")
    values = next(examples(catalogue, name))
    found = [(each, notices.worded(notices.by_name[name], each, values)) for each in LANGUAGES]
    rows: list[dict[str, object]] = []
    for each, text in found:
        if language in ("", each):
            size = sms_size(text)
            rows.append(
                {"language": each, "text": text, "encoding": size.encoding, "units": size.units, "sms": size.segments}
            )
    if json:
        print_json(rows)
        return
    for row in rows:
        print(f"{row['language']}  {row['text']}  ({row['sms']} SMS, {row['units']} characters in {row['encoding']})")


@app.command("list")
def list_(
    msisdn: Annotated[str, typer.Option(help=f"Of one subscriber: E.164 digits, such as {MSISDN_EXAMPLE}.")] = "",
    state: Annotated[str, typer.Option(help="waiting, sending, sent, delivered, failed, given_up or suppressed.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=MAX_LISTED, help="Most that are shown, the latest first.")] = 50,
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Show notices and their state, the latest first."""
    ids = _ids_of(msisdn, config) if msisdn else ()
    rows, catalogue = _ask(config, lambda notices: notices.listed(ids, state=state, limit=limit))
    if json:
        print_json([_facts(row, catalogue) for row in rows])
        return
    for row in rows:
        reason = f" ({row.reason})" if row.reason else ""
        print(f"{_time(row.created, catalogue)}  {row.msisdn}  {row.state}{reason}  {row.id}")
        print(f"    {row.text}")


@app.command()
def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="As in `ocs notice list`.")],
    config: ConfigOption = DEFAULT,
) -> None:
    """Show one notice, as JSON."""
    row, catalogue = _ask(config, lambda notices: notices.shown(id_))
    print_json(_facts(row, catalogue))


@app.command()
def retry(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Of a notice that failed or was given up.")],
    config: ConfigOption = DEFAULT,
) -> None:
    """Send a notice again."""
    _ask(config, lambda notices: notices.retry(id_))
    print(f"{id_}: waits to be sent again")


def _ask(config: Any, work: Callable[[NoticeService], Awaitable[T]]) -> tuple[T, Catalogues]:
    from ocs.history.service import HistoryUnavailableError
    from ocs.notices.service import NoticeService

    settings, catalogue = load_all(config)
    with history_database(settings) as engine:

        async def ask() -> T:
            return await work(NoticeService(engine, catalogue, environment_of(settings).now))

        try:
            return asyncio.run(ask()), catalogue
        except HistoryUnavailableError as error:
            raise FailedError(f"the database of history.url cannot be used: {error}") from None


def _ids_of(msisdn: str, config: Any) -> tuple[str, ...]:
    number, found = inputs.msisdn(msisdn), list[tuple[str, ...]]()

    async def work(backend: Backend) -> None:
        found.append((await backend.accounts.read(number)).view.ids)

    with_backend(config, OpenMode.READ, work)
    return found[0]


def _facts(row: Any, catalogue: Catalogues) -> dict[str, object]:
    times = {name: _time(getattr(row, name), catalogue) for name in ("next_at", "expires_at", "created", "updated")}
    names = "id", "event_id", "name", "account", "msisdn", "language", "text", "state", "reason", "attempts"
    return {**{name: getattr(row, name) for name in names}, "reference": row.reference, **times}


def _time(unix_s: int, catalogue: Catalogues) -> str | None:
    return datetime.fromtimestamp(unix_s, catalogue.time_zone).isoformat() if unix_s else None
