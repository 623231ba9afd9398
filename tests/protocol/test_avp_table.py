"""The table of AVPs is python-diameter's dictionary."""

from __future__ import annotations

from tests import avp_table


def test_the_table_of_avps_is_up_to_date() -> None:
    assert avp_table.MODULE.read_text("utf-8") == avp_table.module(), "make docs writes it anew"
