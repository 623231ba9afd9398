"""Business groups: their numbers, limits, payer, statement (HOT-GRP-1, HOT-GRP-3)."""

from __future__ import annotations

from fastapi import Response

from ocs.accounts import inputs
from ocs.accounts.errors import RefusedError, UnknownError
from ocs.api.call import Call, TheCall
from ocs.api.models import groups as models
from ocs.api.models.common import MsisdnPath
from ocs.api.models.groups import (
    AddNumber,
    Changed,
    ChangeGroup,
    CreateGroup,
    Group,
    GroupAdministrator,
    GroupEntry,
    GroupLimit,
    GroupPath,
    GroupStatementOfMonth,
)
from ocs.api.models.history import MonthPath
from ocs.api.operation_route import router as operations
from ocs.api.pages import Cursor, Limit, Page, page_of
from ocs.api.problems import ProblemError
from ocs.api.rights import Role
from ocs.api.routes.history import CSV, Format
from ocs.history.group_statement import statement_of_group
from ocs.history.service import parse_month
from ocs.history.tables import group_table

router = operations("/v1/groups", "groups")


TELLS_OF_A_STRANGER = frozenset({"account", "no_puk", "puk", "puk_blocked"})
"""Codes by which somebody without the PUK1 could learn which numbers exist; only customer care is told them apart."""


async def _group(group: str, call: Call) -> Group:
    return models.group(await call.backend.groups.read(group), call)


@router.post("", operation_id="groups.create", status_code=201)
async def create_group(body: CreateGroup, call: TheCall) -> Group:
    """Create a group with its administrator number. Repeated with the same name and number, it is the same group."""
    name = inputs.group_name(body.name)
    state = await call.backend.groups.create(name=name, administrator=body.administrator, payer=body.payer)
    return models.group(state, call)


@router.get("", operation_id="groups.list")
async def list_groups(call: TheCall, limit: Limit = 50, cursor: Cursor = "") -> Page[GroupEntry]:
    """All business groups, by id."""
    return page_of(
        await call.backend.groups.all(),
        limit=limit,
        cursor=cursor,
        position=lambda each: each.group_id,
        item=lambda each: GroupEntry(
            group=each.group_id, name=each.name, payer=each.payer or None, numbers=len(each.numbers)
        ),
    )


@router.get("/{group}", operation_id="groups.read")
async def read_group(group: GroupPath, call: TheCall) -> Group:
    """The group and its numbers."""
    return await _group(group, call)


@router.patch("/{group}", operation_id="groups.change")
async def change_group(group: GroupPath, body: ChangeGroup, call: TheCall) -> Group:
    """Change the name, or the bank account that pays for every number (HOT-GRP-4)."""
    if body.name is not None:
        await call.backend.groups.rename(group, name=inputs.group_name(body.name))
    if body.payer is not None:
        await call.backend.groups.set_payer(group, payer=body.payer)
    return await _group(group, call)


@router.post("/{group}/numbers", operation_id="groups.add")
async def add_number(group: GroupPath, body: AddNumber, call: TheCall) -> Group:
    """Add a number with its PUK1. It gets the group's limit and pool. Ten wrong PUK1 block it. Customer care may open
    the account of a new number in the same request.
    """
    groups = call.backend.groups
    if body.imsi is not None and call.role is not Role.CARE:
        raise ProblemError("forbidden", "only customer care opens accounts: have the number sold first, then add it")
    if body.package is not None and body.imsi is None:
        raise ProblemError("invalid", "package is of a new number: give its imsi too")
    if body.imsi is not None:
        catalogue = call.backend.catalogue
        terms = inputs.package_on_sale(body.package, catalogue.products, catalogue.now()) if body.package else None
        await groups.add_new(group, msisdn=body.msisdn, imsi=body.imsi, puk=body.puk, package=terms)
    else:
        try:
            await groups.add(group, msisdn=body.msisdn, puk=body.puk)
        except (UnknownError, RefusedError) as error:
            if call.role is Role.CARE or error.code not in TELLS_OF_A_STRANGER:
                raise
            raise ProblemError("puk", f"this is not the PUK1 of {body.msisdn}, or it cannot be added") from None
    return await _group(group, call)


@router.delete("/{group}/numbers/{msisdn}", operation_id="groups.remove")
async def remove_number(group: GroupPath, msisdn: MsisdnPath, call: TheCall) -> Changed:
    """Take a member out of the group; its account stays as it is."""
    return Changed(changed=await call.backend.groups.remove(group, msisdn=msisdn))


@router.put("/{group}/administrator", operation_id="groups.administrator")
async def change_administrator(group: GroupPath, body: GroupAdministrator, call: TheCall) -> Group:
    """Make a member the administrator; the present one becomes a member."""
    await call.may_see(body.msisdn)
    await call.backend.groups.change_administrator(group, msisdn=body.msisdn)
    return await _group(group, call)


@router.put("/{group}/limit", operation_id="groups.limit")
async def limit_group(group: GroupPath, body: GroupLimit, call: TheCall) -> Group:
    """Set the monthly spending limit of every number at once, and of those that join later (HOT-CC-1)."""
    micro_eur = None if body.monthly_limit is None else inputs.credit(body.monthly_limit)
    await call.backend.groups.set_limit(group, micro_eur=micro_eur)
    return await _group(group, call)


@router.post("/{group}/pool", operation_id="groups.share")
async def share(group: GroupPath, call: TheCall) -> Group:
    """Let all numbers share the units of shared products (HOT-PKG-14)."""
    await call.backend.groups.share(group)
    return await _group(group, call)


@router.get(
    "/{group}/statements/{month}",
    operation_id="groups.statement",
    responses=CSV,
    response_model=GroupStatementOfMonth,
)
async def read_statement(
    group: GroupPath, month: MonthPath, call: TheCall, format: Format = "json"
) -> GroupStatementOfMonth | Response:
    """All transactions and use of administrator and members in a calendar month: net, VAT and gross. It is there from
    the first day of the next month on (HOT-GRP-3).
    """
    if call.container.history is None:
        raise ProblemError("history", "this server has no history")
    found = await statement_of_group(call.container.history, call.backend, group, parse_month(month))
    if format == "csv":
        text = group_table(found, lambda at: moment.isoformat() if (moment := call.time(at)) is not None else "")
        return Response(text, media_type="text/csv; charset=utf-8")
    return models.group_statement(found, call)
