"""The catalogue: products, versions, a draft checked and compared, the price of a use. A version is loaded by the
command line (`ocs catalogue load`), for all processes or none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from ocs.accounts import inputs
from ocs.accounts.errors import InputError, UnknownError
from ocs.api import rating
from ocs.api.call import Call, TheCall
from ocs.api.drafts import compiled, draft_of
from ocs.api.models import subscriptions
from ocs.api.models.catalogue import CatalogueProblem, Checked, Compare, Difference, Draft, Rated, RateRequest, Version
from ocs.api.models.subscriptions import ProductOut
from ocs.api.operation_route import router as operations
from ocs.api.pages import Cursor, Limit, Page, page_of
from ocs.catalogue.catalogue import Catalogue
from ocs.catalogue.diff import differences
from ocs.catalogue.problems import CatalogueError, Problem
from ocs.catalogue.versions import Catalogues
from ocs.policy.payment import Funds, funds_of, funds_of_products
from ocs.policy.quote import Quote
from ocs.values.money import format_eur

router = operations("/v1", "catalogue")


@router.get("/products", operation_id="products.list")
async def list_products(
    call: TheCall, on_sale: bool = True, limit: Limit = 50, cursor: Cursor = ""
) -> Page[ProductOut]:
    """Products of the catalogue in force: those on sale now, or all."""
    catalogue = call.backend.catalogue
    found = [each for each in catalogue.products.values() if not on_sale or each.is_sold(catalogue.now())]
    return page_of(
        sorted(found, key=lambda each: each.id),
        limit=limit,
        cursor=cursor,
        position=lambda each: each.id,
        item=lambda each: subscriptions.product(each, call),
    )


@router.get("/products/{product}", operation_id="products.read")
async def read_product(product: str, call: TheCall) -> ProductOut:
    """What a product costs, has and excludes. `product`: its id or name."""
    try:
        return subscriptions.product(inputs.product(product, call.backend.catalogue.products), call)
    except InputError as error:
        raise UnknownError("product", str(error)) from None


@router.get("/catalogue/versions", operation_id="catalogue.versions")
async def list_versions(call: TheCall) -> list[Version]:
    """Versions of the settings' files and of the ledger, and which one is in force."""
    _, stored = await call.backend.ledger.catalogue_versions()
    known, in_force = {each.name: each for each in stored}, call.backend.catalogue.in_force()
    versions = []
    for each in call.backend.catalogue.versions:
        loaded = known.get(each.version)
        versions.append(
            Version(
                version=each.version,
                valid_from=call.time(each.begins_at),
                in_force=each is in_force,
                loaded_by=loaded.loaded_by if loaded else None,
                loaded_at=call.time(loaded.loaded_at) if loaded else None,
            )
        )
    return versions


@router.post("/catalogue/check", operation_id="catalogue.check")
async def check(body: Draft, call: TheCall) -> Checked:
    """Check a draft by itself. Nothing is loaded."""
    try:
        found = await compiled(body.catalogue, call)
    except CatalogueError as error:
        return Checked(ok=False, version=None, problems=_problems(error.problems), illustrative=[])
    return Checked(ok=True, version=found.version, problems=[], illustrative=list(found.illustrative))


def _problems(found: Iterable[Problem]) -> list[CatalogueProblem]:
    return [CatalogueProblem(key=each.key, value=each.value, allowed=each.allowed) for each in found]


@router.post("/catalogue/compare", operation_id="catalogue.compare")
async def compare(body: Compare, call: TheCall) -> list[Difference]:
    """What changes from one version to another, or to a draft: prices, rates, products, places."""
    if (body.draft is None) == (body.with_version is None):
        raise InputError("draft", "name either a version (with_version) or a draft to compare with")
    before = _version(body.version, call)
    after = await draft_of(body.draft, call) if body.draft is not None else _version(body.with_version, call)
    return [Difference(**each.data()) for each in differences(before, after)]  # type: ignore[arg-type]


def _version(name: str | None, call: Call) -> Catalogue:
    catalogues = call.backend.catalogue
    if name is None:
        return catalogues.in_force()
    for each in catalogues.versions:
        if each.version == name:
            return each
    known = ", ".join(each.version for each in catalogues.versions)
    raise UnknownError("version", f"there is no version {name!r}; there are {known}")


@router.post("/rate", operation_id="rate.ask")
async def rate(body: RateRequest, call: TheCall) -> Rated:
    """What a use costs, who would pay, and why, step by step. Nothing is charged. With a draft: what it would cost
    under another catalogue.
    """
    if body.msisdn and body.products:
        raise InputError("products", "products are for a price without an account: leave one of the two out")
    known = call.backend.catalogue
    used = known if body.draft is None else Catalogues([await draft_of(body.draft, call)], known.now)
    use, funds = rating.use_of(body, used), await _funds(body, used, call)
    return _rated(await asyncio.to_thread(rating.rated, use, used, funds))


async def _funds(body: RateRequest, used: Catalogues, call: Call) -> Funds:
    now = used.now()
    terms = used.in_force().terms
    if body.msisdn is None:
        return funds_of_products([inputs.package(name, terms) for name in body.products], now)
    await call.may_see(body.msisdn)
    seen = await call.backend.accounts.read(body.msisdn)
    call.account_id = seen.view.account_id
    return funds_of(seen.view, seen.pool, terms, now)


def _rated(found: Quote) -> Rated:
    return Rated(
        granted=found.amount,
        refused=found.refused or None,
        credit=format_eur(found.micro_eur),
        fees=format_eur(found.fees_micro_eur),
        bucket_units=found.units,
        steps=[step.as_json() for step in found.trace.steps],
    )
