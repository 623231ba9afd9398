"""Migrations of the SQL database, run by `ocs.history.migrating`.

A change of `ocs.history.schema` needs a new file in `versions`: `revision` is its own name, `down_revision` that of the
one before. It must run on SQLite and on PostgreSQL. `tests/ocs/history/test_migrations.py` compares the result with the
schema.
"""
