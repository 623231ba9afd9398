"""`ocs key …`: keys of the API (docs/API.md)."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ocs.api.keys import ApiKeys
from ocs.api.rights import Role
from ocs.cli.common import DEFAULT, Backend, ConfigOption, FailedError, JsonOption, print_json, with_backend
from ocs.ledger.contract.api_keys import ApiKey
from ocs.ledger.redis.installation import OpenMode
from ocs.values.moment import DAY_S, utc_text

app = typer.Typer(help="Create, list and revoke keys of the API.", no_args_is_help=True)


def _keys(backend: Backend) -> ApiKeys:
    return ApiKeys(backend.ledger, backend.environment.now)


@app.command()
def create(
    role: Annotated[str, typer.Option(help=f"{', '.join(Role)}.")],
    name: Annotated[str, typer.Option(help="Who or what uses it.")],
    group: Annotated[str, typer.Option(help="The business group of a group-admin.")] = "",
    msisdn: Annotated[str, typer.Option(help="The number of a member.")] = "",
    days: Annotated[int, typer.Option(help="Days until it expires; 0 = it does not.")] = 0,
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Create a key, and print it: once only, as just its SHA-256 is stored."""

    async def work(backend: Backend) -> None:
        made = await _keys(backend).create(role=role, name=name, bound_to=group or msisdn, days=days)
        if json:
            print_json({"key": made.text, **as_json(made.key, backend.environment.now())})
        else:
            print(made.text)

    with_backend(config, OpenMode.WRITE, work)


@app.command("list")
def list_(json: JsonOption = False, config: ConfigOption = DEFAULT) -> None:
    """List all keys, without their secrets."""

    async def work(backend: Backend) -> None:
        now = backend.environment.now()
        rows = [as_json(each, now) for each in await _keys(backend).list()]
        if json:
            print_json(rows)
            return
        table = Table(box=None, pad_edge=False)
        for name in ("id", "name", "role", "bound to", "created", "last used", "expires", "state"):
            table.add_column(name)
        for row in rows:
            table.add_row(*(str(value or "") for value in row.values()))
        Console().print(table)

    with_backend(config, OpenMode.READ, work)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="Id of the key: what `ocs key list` shows.", metavar="ID")],
    config: ConfigOption = DEFAULT,
) -> None:
    """Revoke a key at once."""

    async def work(backend: Backend) -> None:
        if not await _keys(backend).revoke(key_id):
            raise FailedError(f"there is no key {key_id} in force: `ocs key list` shows them")
        print(f"{key_id} is revoked")

    with_backend(config, OpenMode.WRITE, work)


def as_json(key: ApiKey, now: int) -> dict[str, object]:
    expired = 0 < key.expires_at <= now
    return {
        "id": key.id,
        "name": key.name,
        "role": key.role,
        "bound_to": key.bound_to or None,
        "created": utc_text(key.created_at),
        "last_used": utc_text(key.used_day * DAY_S)[:10] if key.used_day else None,
        "expires": utc_text(key.expires_at) if key.expires_at else None,
        "state": "revoked" if key.revoked_at else "expired" if expired else "in force",
    }
