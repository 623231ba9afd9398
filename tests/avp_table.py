"""Generates protocol/avp_table.py from python-diameter's dictionary: `python -m tests.avp_table` (`make docs`)."""

from __future__ import annotations

from pathlib import Path

from diameter.message.avp import avp as types
from diameter.message.avp.dictionary import AVP_DICTIONARY, AVP_VENDOR_DICTIONARY

from protocol.avp import Kind

ROOT = Path(__file__).parents[1]
MODULE = ROOT / "protocol" / "avp_table.py"
HEAD = '''\
"""AVPs as python-diameter's dictionary has them (MIT License, Mikko Mensonen): vendor, code, name, type, M flag.

Made by `make docs`. A wrong row is corrected in `protocol/dictionary.py`, not here. The server reads this table, since
importing the library takes longer than all else that a worker imports.
"""

ROWS: tuple[tuple[int, int, str, str, bool], ...] = (
'''

_KINDS: dict[type[types.Avp], Kind] = {
    types.AvpAddress: Kind.ADDRESS,
    types.AvpFloat32: Kind.FLOAT32,
    types.AvpFloat64: Kind.FLOAT64,
    types.AvpGrouped: Kind.GROUPED,
    types.AvpInteger32: Kind.INTEGER32,
    types.AvpInteger64: Kind.INTEGER64,
    types.AvpUnsigned32: Kind.UNSIGNED32,
    types.AvpUnsigned64: Kind.UNSIGNED64,
    types.AvpEnumerated: Kind.ENUMERATED,
    types.AvpOctetString: Kind.OCTETS,
    types.AvpTime: Kind.TIME,
    types.AvpUtf8String: Kind.UTF8,
}


def module() -> str:
    """The text of the module."""
    vendors = ((0, AVP_DICTIONARY), *((vendor, rows) for vendor, rows in AVP_VENDOR_DICTIONARY.items() if vendor))
    lines = [
        f'    ({vendor}, {code}, "{row["name"]}", "{_KINDS[row["type"]].name}", {bool(row.get("mandatory", False))}),\n'
        for vendor, rows in vendors
        for code, row in rows.items()
    ]
    return "".join([HEAD, *lines, ")\n"])


if __name__ == "__main__":
    MODULE.write_text(module(), "utf-8")
    print(f"{MODULE.relative_to(ROOT)}: {module().count(chr(10)) - HEAD.count(chr(10)) - 1} AVPs")
