"""Drafts of a catalogue that a request brings: compiled, never loaded."""

from __future__ import annotations

import asyncio

from ocs.api import rating
from ocs.api.call import Call
from ocs.api.problems import ProblemError
from ocs.catalogue.catalogue import Catalogue, parse_catalogue
from ocs.catalogue.problems import CatalogueError

MAX_MISTAKES = 100
"""Of a draft that are told."""


async def compiled(text: str, call: Call) -> Catalogue:
    """CatalogueError: it has mistakes."""
    async with call.container.slow:
        return await asyncio.to_thread(parse_catalogue, text, rating.DRAFT)


async def draft_of(text: str, call: Call) -> Catalogue:
    """ProblemError: it has mistakes."""
    try:
        return await compiled(text, call)
    except CatalogueError as error:
        mistakes = [
            {"where": f"draft.{each.key}", "detail": f"{each.value} {each.allowed}".strip()} for each in error.problems
        ]
        raise ProblemError("invalid", "the draft has mistakes", errors=mistakes[:MAX_MISTAKES]) from None
