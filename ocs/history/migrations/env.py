"""Alembic runs this for each command; `ocs.history.migrating` passes the connection."""

from __future__ import annotations

from alembic import context

from ocs.history.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
