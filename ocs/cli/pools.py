"""`ocs pool …`: numbers that share units (HOT-PKG-14)."""

from __future__ import annotations

from typing import Annotated

import typer

from ocs.accounts import inputs
from ocs.accounts.pools import PoolState
from ocs.cli.accounts import MsisdnArgument
from ocs.cli.common import DEFAULT, Backend, ConfigOption, JsonOption, print_json, with_backend
from ocs.cli.show import units_text
from ocs.ledger.contract.views import BucketView
from ocs.ledger.redis.installation import OpenMode
from ocs.values.moment import utc_text
from ocs.values.use import Unit

app = typer.Typer(help="Let numbers share the units of products.", no_args_is_help=True)
OFF = "off"
EACH = "each"
"""Member of a common limit, in what is printed."""


@app.command("open")
def open_(
    msisdn: MsisdnArgument,
    name: Annotated[str, typer.Option(help="Name of the pool, unique among the accounts of a partition.")],
    config: ConfigOption = DEFAULT,
) -> None:
    """Open a pool; the number joins it, and the units of its shared products go there."""
    number, pool = inputs.msisdn(msisdn), inputs.pool_name(name)

    async def work(backend: Backend) -> None:
        await backend.pools.open(number, name=pool)
        print(f"{number}: is in the pool {pool}")

    with_backend(config, OpenMode.WRITE, work)


@app.command()
def join(
    msisdn: MsisdnArgument,
    of: Annotated[str, typer.Option(help="A number that is in the pool.")],
    config: ConfigOption = DEFAULT,
) -> None:
    """Let a number, such as an additional SIM, join the pool of another."""
    number, owner = inputs.msisdn(msisdn), inputs.msisdn(of)

    async def work(backend: Backend) -> None:
        pool = await backend.pools.join(number, of=owner)
        print(f"{number}: is in the pool {pool}")

    with_backend(config, OpenMode.WRITE, work)


@app.command()
def leave(msisdn: MsisdnArgument, config: ConfigOption = DEFAULT) -> None:
    """Let a number leave its pool. Units that its products have put there stay there to the end of their period."""
    number = inputs.msisdn(msisdn)

    async def work(backend: Backend) -> None:
        await backend.pools.leave(number)
        print(f"{number}: is in no pool")

    with_backend(config, OpenMode.WRITE, work)


@app.command()
def limit(
    msisdn: MsisdnArgument,
    bucket: Annotated[str, typer.Argument(help="Id of a bucket of the pool, such as MINI.data.")],
    units: Annotated[str, typer.Option(help='In a period, such as "2 GB", "100 min", "50 messages"; or off.')],
    common: Annotated[bool, typer.Option("--common", help="Of each member that has no limit of its own.")] = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Limit what a member may use of the pool in a period. It counts from when the pool has its first limit."""
    number = inputs.msisdn(msisdn)

    async def work(backend: Backend) -> None:
        unit = await backend.pools.unit_of(number, bucket)
        general = backend.catalogue.in_force().tables.general
        kilo = general.kilo if general is not None else 1024
        most = None if units.strip() == OFF else inputs.quantity(units, Unit(unit), kilo=kilo)
        await backend.pools.limit(number, bucket=bucket, units=most, common=common)
        who = "each member" if common else number
        print(f"{who}: {'no limit' if most is None else 'at most ' + units_text(most, unit)} of {bucket} in a period")

    with_backend(config, OpenMode.WRITE, work)


@app.command()
def show(msisdn: MsisdnArgument, json: JsonOption = False, config: ConfigOption = DEFAULT) -> None:
    """Show the units of a number's pool, its limits, and what members have used since there are limits."""
    number = inputs.msisdn(msisdn)

    async def work(backend: Backend) -> None:
        found = pool_json(await backend.pools.read(number))
        if json:
            print_json(found)
        else:
            print_pool(found)

    with_backend(config, OpenMode.READ, work)


def pool_json(state: PoolState) -> dict[str, object]:
    """The names are stable: programs rely on them."""
    pool = state.pool
    buckets = {each.instance: each for each in pool.buckets}
    return {
        "pool": pool.pool_id,
        "account": state.account_id,
        "buckets": [_bucket_json(each) for each in pool.buckets],
        "limits": [
            {"account": each.account_id or None, "bucket": each.bucket, "units": each.units} for each in pool.limits
        ],
        "used": [
            {"account": each.account_id, "bucket": buckets[each.instance].id, "units": each.units}
            for each in pool.usage
            if each.instance in buckets
        ],
    }


def _bucket_json(bucket: BucketView) -> dict[str, object]:
    return {
        "bucket": bucket.id,
        "unit": bucket.unit,
        "left": bucket.left,
        "held": bucket.held,
        "expires_at": utc_text(bucket.expires_at),
    }


def print_pool(found: dict[str, object]) -> None:
    print(f"pool {found['pool']}, account {found['account']}")
    for name in ("buckets", "limits", "used"):
        rows = found[name]
        assert isinstance(rows, list)
        for row in rows:
            words = [EACH if key == "account" and value is None else str(value) for key, value in row.items()]
            print(f"{name}: {' '.join(words)}")
