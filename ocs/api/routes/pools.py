"""Pools: numbers that share units (HOT-PKG-14)."""

from __future__ import annotations

from ocs.accounts import inputs
from ocs.api.call import TheCall
from ocs.api.models import network as models
from ocs.api.models.common import MsisdnPath
from ocs.api.models.network import JoinPool, Left, LimitPool, OpenPool, Pool
from ocs.api.operation_route import router as operations
from ocs.values.use import Unit

router = operations("/v1/accounts/{msisdn}/pool", "pools")


@router.get("", operation_id="pools.read")
async def read_pool(msisdn: MsisdnPath, call: TheCall) -> Pool:
    """Units of the number's pool, its limits, and what members have used since there are limits."""
    return models.pool(await call.backend.pools.read(msisdn), call)


@router.post("", operation_id="pools.open", status_code=201)
async def open_pool(msisdn: MsisdnPath, body: OpenPool, call: TheCall) -> Pool:
    """Open a pool: the number joins it, and the units of its shared products go there."""
    await call.backend.pools.open(msisdn, name=inputs.pool_name(body.name))
    return await read_pool(msisdn, call)


@router.post("/join", operation_id="pools.join")
async def join_pool(msisdn: MsisdnPath, body: JoinPool, call: TheCall) -> Pool:
    """Let the number, such as an additional SIM, join the pool of another."""
    await call.may_see(body.of)
    await call.backend.pools.join(msisdn, of=body.of)
    return await read_pool(msisdn, call)


@router.delete("", operation_id="pools.leave")
async def leave_pool(msisdn: MsisdnPath, call: TheCall) -> Left:
    """Let the number leave its pool. Units that its products have put there stay to the end of their period."""
    await call.backend.pools.leave(msisdn)
    return Left(pool=None)


@router.put("/limits/{bucket}", operation_id="pools.limit")
async def limit_pool(msisdn: MsisdnPath, bucket: str, body: LimitPool, call: TheCall) -> Pool:
    """Limit what the number, or each member, may use of the pool in a period."""
    unit = await call.backend.pools.unit_of(msisdn, bucket)
    kilo = call.backend.catalogue.versions[0].kilo
    units = None if body.quantity is None else inputs.quantity(body.quantity, Unit(unit), kilo=kilo)
    await call.backend.pools.limit(msisdn, bucket=bucket, units=units, common=body.common)
    return await read_pool(msisdn, call)
