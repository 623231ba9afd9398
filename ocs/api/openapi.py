"""The OpenAPI 3.1 document: what FastAPI finds in the routes, and what all operations have in common."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from ocs.api.models.common import Problem
from ocs.api.problems import KINDS, MEDIA_TYPE
from ocs.api.repetitions import HEADER, PATTERN, REPLAYED
from ocs.api.rights import OPERATIONS, Operation
from ocs.api.tmf.models import TmfError
from ocs.api.tmf.routing import PREFIX

SCHEME = "key"
PROBLEM: dict[str, Any] = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
TMF_ERROR: dict[str, Any] = {"application/json": {"schema": {"$ref": "#/components/schemas/TmfError"}}}
DESCRIPTION = """\
What care staff, a web shop, a group's administrator and an auditor need of the charging system.

Each request has a key in the header Authorization (`ocs key create`); its role says what it may do. Each request that
moves money or sells has an Idempotency-Key: repeated with the same one, it is done once and gets the same answer.
Errors are problems (RFC 9457): `code` is for programs, `action` says what to do. Money is a decimal number of EUR in
a string; times have an offset. A list comes in pages: `next` is the cursor of the next one.
"""
STATUSES = {
    "400": "The body is no JSON.",
    "401": "No valid key.",
    "403": "The role of the key may not do this.",
    "404": "What was named does not exist, or the key may not see it.",
    "408": "The body did not come in time.",
    "409": "The account does not allow it now; nothing was done.",
    "413": "The body is too large.",
    "415": "The body is not said to be JSON.",
    "422": "A value is not allowed, or the Idempotency-Key was used for another request; nothing was done.",
    "429": "Too many requests of this key.",
    "500": "An error of the server.",
    "503": "The ledger is not available; repeat after Retry-After.",
}


def document(app: FastAPI, version: str) -> dict[str, Any]:
    """Made once, at the first request for it."""
    made = get_openapi(
        title="ocs", version=version, openapi_version="3.1.0", description=DESCRIPTION, routes=app.routes
    )
    components = made.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    components["securitySchemes"] = {
        SCHEME: {"type": "http", "scheme": "bearer", "description": "`ocs_<id>_<secret>` of `ocs key create`."}
    }
    schemas["TmfError"] = TmfError.model_json_schema(mode="serialization")
    for path, methods in made["paths"].items():
        error = TMF_ERROR if path.startswith(PREFIX) else PROBLEM
        for operation in methods.values():
            _complete(operation, OPERATIONS.get(operation.get("operationId", "")), error)
    return made


def _complete(made: dict[str, Any], operation: Operation | None, error: dict[str, Any]) -> None:
    if operation is None:
        return
    made["security"] = [{SCHEME: []}]
    roles = "; ".join(f"{role.value} ({scope.value})" for role, scope in operation.grants.items())
    made["description"] = f"{made.get('description', '')}\n\nRoles: {roles}.".strip()
    responses = made["responses"]
    for status, text in STATUSES.items():
        responses[status] = {"description": text, "content": error}
    for status in ("429", "503"):
        responses[status]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    if operation.once:
        made.setdefault("parameters", []).append(_idempotency_key())
        for status, response in responses.items():
            if status.startswith("2"):
                replayed = {"schema": {"type": "string", "enum": ["true"]}, "description": "It was done before."}
                response.setdefault("headers", {})[REPLAYED] = replayed


def _idempotency_key() -> dict[str, Any]:
    return {
        "name": HEADER,
        "in": "header",
        "required": True,
        "description": "New for each thing that is to be done; the same for each repetition.",
        "schema": {"type": "string", "pattern": PATTERN, "minLength": 1, "maxLength": 64},
        "example": "6d0d2f0e-5a2c-4d0e-9f2e-0c9d7f1f2a11",
    }


def problem_list() -> dict[str, dict[str, object]]:
    """`/problems`: code → status, title, action."""
    return {code: {"status": kind.status, "title": kind.title, "action": kind.action} for code, kind in KINDS.items()}
