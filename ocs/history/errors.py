"""Errors of the SQL database."""

from __future__ import annotations

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError


class SchemaError(Exception):
    """The tables do not fit this version of ocs; the message says what to do."""


DATABASE_ERRORS = (SQLAlchemyError, psycopg.Error, SchemaError)
"""What a use of the database may raise. psycopg.Error: of rows that bypass SQLAlchemy (COPY)."""


def reason(error: Exception) -> str:
    """Without statement and parameters, which may name subscribers."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, SQLAlchemyError):
        return type(cause).__name__
    first, _, _ = str(cause).strip().partition("\n")
    return first if isinstance(cause, SchemaError) else f"{type(cause).__name__}: {first}".removesuffix(": ")
