"""Errors of the SQL database."""

from __future__ import annotations

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError


class SchemaError(Exception):
    """The tables do not fit this version of ocs; the message says what to do."""


DATABASE_ERRORS = (SQLAlchemyError, psycopg.Error, SchemaError)
"""What a use of the database may raise. psycopg.Error: of rows that bypass SQLAlchemy (COPY)."""

_NO_FILE = "unable to open database file"
"""SQLite's words for a file in a folder that does not exist."""


def reason(error: Exception) -> str:
    """Without statement and parameters, which may name subscribers."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, SQLAlchemyError):
        return type(cause).__name__
    first, _, _ = str(cause).strip().partition("\n")
    if first == _NO_FILE:
        return "there is no history yet; `ocs serve` makes it in server.data_dir"
    return first if isinstance(cause, SchemaError) else f"{type(cause).__name__}: {first}".removesuffix(": ")
