"""The resources: one module each, with an APIRouter called `router`. All modules of this package are served."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.routing import APIRoute


def routers() -> Iterator[APIRouter]:
    """The routers of all modules, by name of the module."""
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda each: each.name):
        yield importlib.import_module(f"{__name__}.{module.name}").router


def operations() -> Iterator[APIRoute]:
    """All routes that are operations of `ocs.api.rights`."""
    for router in routers():
        yield from (route for route in router.routes if isinstance(route, APIRoute))
