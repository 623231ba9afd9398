"""Makes the Lua function that reads a document of this layout.

`cmsgpack.unpack` appends one value after the other to a table, which Lua enlarges again and again. A table of values
that are all there is made at once. So the long records of a document are read by `cmsgpack.unpack_limit`, each as that
many values.
"""

from __future__ import annotations

from ocs.ledger.records import Field, Layout

WIDE = 8
"""Records with so many fields are read for themselves. Those of a session are read with it: they are few."""
DOCUMENTS = ("account", "pool")
_SHARED = """
local byte, unpack_limit = string.byte, cmsgpack.unpack_limit
local function count_at(octets, at)
local first = byte(octets, at + 1)
if first >= 128 and first < 160 then return first % 16, at + 1 end
if first ~= 220 and first ~= 222 then error('no array or map') end
local high, low = byte(octets, at + 2, at + 3)
return high * 256 + low, at + 3
end
local function row_of(after, ...) return {...}, after end
local function row_at(octets, at)
local size, first = count_at(octets, at)
return row_of(unpack_limit(octets, size, first))
end
local function rows_at(octets, at)
local rows, count, after = {}, count_at(octets, at)
for n = 1, count do rows[n], after = row_at(octets, after) end
return rows, after
end
local function map_at(octets, at)
local map, count, after = {}, count_at(octets, at)
for n = 1, count do
local behind, key = unpack_limit(octets, 1, after)
map[key], after = row_at(octets, behind)
end
return map, after
end
"""
"""`at`: octets before a value. Functions return what they have read, and the place of the next value; `count_at` the
number of elements of an array or map, and the place of the first.
"""


def reader(layout: Layout) -> list[str]:
    """Lua lines: `read_rows(kind, document)`. Where it returns nil or raises an error, the document is to be read by
    `cmsgpack.unpack`, if at all. So is one of another version.
    """
    lines = ["local read_rows", "do", *_SHARED.strip().splitlines(), "local read = {}"]
    for document in DOCUMENTS:
        lines += _function(layout, document)
    return [
        *lines,
        "function read_rows(kind, document)",
        "local size, at = count_at(document, 0)",
        f"if byte(document, at + 1) ~= {layout.version} then return nil end",
        "return read[kind](document, size, at)",
        "end",
        "end",
    ]


def _function(layout: Layout, document: str) -> list[str]:
    """A function that reads runs of plain fields, and the lists and maps of wide records between them."""
    fields = layout.records[document]
    lines = [f"read['{document}'] = function(octets, size, at)", f"if size ~= {len(fields)} then return nil end"]
    names = [f"v{n}" for n in range(len(fields))]
    run: list[str] = []

    def end_run() -> None:
        if run:
            lines.append(f"local after{run[0]}, {', '.join(run)} = unpack_limit(octets, {len(run)}, at)")
            lines.append(f"at = after{run[0]}")
            run.clear()

    for name, each in zip(names, fields, strict=True):
        if _is_wide(layout, each):
            end_run()
            lines.append(f"local {name}, after{name} = {'map_at' if each.each else 'rows_at'}(octets, at)")
            lines.append(f"at = after{name}")
        else:
            run.append(name)
    end_run()
    # `unpack_limit` returns fewer values, and no error, where the octets end.
    return [*lines, f"return {names[-1]} ~= nil and {{{', '.join(names)}}} or nil", "end"]


def _is_wide(layout: Layout, field: Field) -> bool:
    inner = field.many or field.each
    return bool(inner) and field.default == () and len(layout.records[inner]) >= WIDE
