"""The ledger's Lua scripts, made ready for Redis: each follows the parts that it uses, and field names are replaced by
their positions (layout.py).

`join` checks the field names at start, and removes comments and indentation, so that Redis has less to parse.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib.resources import files

from ocs.ledger.contract import limits
from ocs.ledger.layout import LAYOUT, VARIABLES
from ocs.ledger.records import Layout
from ocs.ledger.scripts.reading import reader
from ocs.ledger.scripts.source import ScriptSource
from ocs.values.exact import MAX_INTEGER
from ocs.values.life import UNUSED_UNTIL
from ocs.values.measures import MAX_MEASURES_PER_ACCOUNT
from ocs.values.money import CREDIT_CEILING_MICRO_EUR

SHARED = (
    *("values", "document", "measures", "counters", "idle", "buckets"),
    *("tallies", "sessions", "life", "subscriptions", "periods", "agenda"),
)
STEPS = {
    "identify": ("identify", "begin_or_resume", "other_facts"),
    "first_use": ("begin_life", "keep_or_undo_life"),
    "release": ("release", "count_services", "fresh_legs"),
    "settle": ("settle", "settle_leg"),
    "count": ("count",),
    "armed": ("start_armed", "unheld_units"),
    "grants": ("funds_of", "counter_room", "largest_grant", "plan_leg", "hold_grant"),
    "reserve": ("reserve",),
    "conclude": ("conclude", "check_balance"),
}
"""Parts of charge.lua: part → its functions that other parts use. The agenda, step 2, is in SHARED."""
SCRIPTS: dict[str, tuple[str, ...]] = {
    "charge": tuple(STEPS),
    "refund": (),
    "open": (),
    "top_up": (),
    "voucher_entry": (),
    "subscribe": (),
    "change": (),
    "give_up": (),
    "terminate": (),
    "pay_out": (),
    "auto_top_up": (),
    "payment": (),
    "identity": (),
    "sweep": (),
    "pool": (),
    "move_out": (),
    "move_in": (),
    "upgrade": (),
    "membership": (),
    "transfer": (),
    "note": (),
}
"""Script → its own parts beside SHARED, in order."""
CONSTANTS = {
    "ANSWERS_KEPT": limits.ANSWERS_KEPT_PER_SESSION,
    "MAX_SESSIONS": limits.MAX_SESSIONS_PER_ACCOUNT,
    "MAX_SUBSCRIPTIONS": limits.MAX_SUBSCRIPTIONS_PER_ACCOUNT,
    "MAX_SERVICES": limits.MAX_SERVICES_PER_SESSION,
    "MAX_MEASURES": MAX_MEASURES_PER_ACCOUNT,
    "MAX_SEEN": limits.MAX_COUNTRIES_SEEN,
    "MAX_ORDERS": limits.MAX_ORDERS_PER_ACCOUNT,
    "MAX_OPEN_ORDERS": limits.MAX_OPEN_ORDERS_PER_ACCOUNT,
    "MAX_WRONG_VOUCHERS": limits.MAX_WRONG_VOUCHERS,
    "TOMBSTONE_S": limits.TOMBSTONE_S,
    "EQUIPMENT_TOLD": limits.EQUIPMENT_TOLD,
    "CEILING": CREDIT_CEILING_MICRO_EUR,
    "UNBOUNDED": MAX_INTEGER,
    "UNUSED_UNTIL": UNUSED_UNTIL,
    "MAX_TRANSFERS": limits.MAX_TRANSFERS_PER_ACCOUNT,
}
_ACCESS = re.compile(rf"(?<!\w)({'|'.join(sorted(VARIABLES, key=len, reverse=True))})\.([a-z_]\w*)")
_ANY_ACCESS = re.compile(r"(?=(?<!\w)(\w*[\w\])])\.([A-Za-z_]\w*))")
PLAIN = frozenset(
    (
        "work",
        "args",
        "keys",
        "funds",
        "item",
        "source",
        "next_source",
        "snapshot",
        "event",
        "redis",
        "math",
        "string",
        "table",
        "bit",
        "cmsgpack",
        "index_changes",
    )
)
"""Variables whose fields are names, not positions: the script's state and arguments, a service of a request, a bucket
that may pay, an event, the Lua libraries.
"""
_NEW = re.compile(r"(?<!\w)new_(\w+)\(\)")
_FUNCTION = re.compile(r"^local function (\w+)\(", re.MULTILINE)
_CONSTANT = re.compile(r"^local \w+(?:, \w+)* = .*$", re.MULTILINE)
_COMMENT = re.compile(r"--.*$")


class ScriptError(Exception):
    """A script names a field that its record does not have."""


def load(layout: Layout = LAYOUT) -> tuple[ScriptSource, ...]:
    """All scripts. ScriptError: one names a field or function that does not exist. Those of the shipped layout are made
    once a process.
    """
    return _shipped() if layout is LAYOUT else _made(layout)


@cache
def _shipped() -> tuple[ScriptSource, ...]:
    return _made(LAYOUT)


def _made(layout: Layout) -> tuple[ScriptSource, ...]:
    joined = {part: join(part, layout) for part in (*SHARED, *STEPS, *SCRIPTS)}
    joined.update((part, _block(part, joined[part], names)) for part, names in STEPS.items())
    joined.update((part, _shared_block(part, joined[part])) for part in SHARED)
    head = "\n".join([*_bring_up(layout), *reader(layout)])

    def shared(own: tuple[str, ...]) -> tuple[str, ...]:
        return (head, *(joined[part] for part in (*SHARED, *own)))

    return tuple(ScriptSource(name, shared(own), joined[name]) for name, own in SCRIPTS.items())


def _shared_block(part: str, source: str) -> str:
    """A shared part as a block: what no other part uses does not count towards the limit. Constants that another part
    uses come before it.
    """
    others = frozenset[str]().union(*(_words(other) for other in (*SHARED, *STEPS, *SCRIPTS) if other != part))
    constants = []
    for match in _CONSTANT.finditer(_source(part)):
        line = _COMMENT.sub("", match.group()).strip()
        if others.isdisjoint(re.findall(r"\w+", line.removeprefix("local ").partition(" = ")[0])):
            continue
        constants.append(line)
        source = source.replace(f"{line}\n", "", 1)
    names = tuple(name for name in _FUNCTION.findall(_source(part)) if name in others)
    return "\n".join([*constants, _block(part, source, names)])


@lru_cache(maxsize=64)
def _words(part: str) -> frozenset[str]:
    """Words of a part, but for comments."""
    return frozenset(re.findall(r"\w+", "\n".join(_COMMENT.sub("", line) for line in _source(part).splitlines())))


def _block(part: str, source: str, names: tuple[str, ...]) -> str:
    """A part as a block, of which only `names` count towards Lua's limit of 200 local variables."""
    for name in names:
        local = f"local function {name}("
        if local not in source:
            raise ScriptError(f"{part}.lua has no function {name!r}")
        source = source.replace(local, f"function {name}(")
    return f"local {', '.join(names)}\ndo\n{source}\nend"


def join(part: str, layout: Layout) -> str:
    """The text of one part for Redis. Constants of Python are written as numbers: a local variable each would count
    towards Lua's limit of 200.
    """
    lines, constants = [], _constants(layout)
    named = re.compile(rf"\b({'|'.join(constants)})\b")
    for number, line in enumerate(_source(part).splitlines(), 1):
        bare = _COMMENT.sub("", line).strip()
        if bare:
            positioned = _positions(bare, layout, f"{part}.lua:{number}")
            lines.append(named.sub(lambda match: str(constants[match.group()]), positioned))
    return "\n".join(lines)


@lru_cache(maxsize=64)
def _source(part: str) -> str:
    return files(__package__).joinpath(f"{part}.lua").read_text()


def _positions(line: str, layout: Layout, where: str) -> str:
    for match in _ANY_ACCESS.finditer(line):
        if match.group(1) not in VARIABLES and match.group(1) not in PLAIN:
            raise ScriptError(f"{where}: {match.group(1)!r} is neither in VARIABLES nor in PLAIN")

    def place(match: re.Match[str]) -> str:
        variable, name = match.groups()
        try:
            return f"{variable}[{layout.index(VARIABLES[variable], name) + 1}]"
        except KeyError as error:
            raise ScriptError(f"{where}: {error.args[0]}") from None

    def constructor(match: re.Match[str]) -> str:
        record = match.group(1)
        if record not in layout.records:
            raise ScriptError(f"{where}: there is no record {record!r}")
        return "{" + ", ".join(_lua(field.default) for field in layout.records[record]) + "}"

    return _NEW.sub(constructor, _ACCESS.sub(place, line))


def _lua(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value}'"
    return "{}" if isinstance(value, tuple) else str(value)


def _constants(layout: Layout) -> dict[str, int]:
    return {
        **CONSTANTS,
        "VERSION": layout.version,
        "READABLE_FROM": layout.readable_from,
        # Position of a field that is a table in every valid document.
        "ACCOUNT_END": layout.index("account", "sessions") + 1,
        "POOL_END": layout.index("pool", "shares") + 1,
    }


def _bring_up(layout: Layout) -> list[str]:
    """A Lua function that adds the fields that an older layout lacks, in a record and its nested records."""
    order: list[str] = []

    def visit(record: str) -> None:
        for field in layout.records[record]:
            if field.record and field.record not in order:
                visit(field.record)
        if record not in order:
            order.append(record)

    visit("account")
    visit("pool")
    lines = ["local function bring_up(kind, row)", "local up = {}"]
    for record in order:
        lines.append(f"up['{record}'] = function(row)")
        for at, field in enumerate(layout.records[record], 1):
            if field.since > 2:
                lines.append(f"if row[{at}] == nil then row[{at}] = {_lua(field.default)} end")
            if field.packed:
                lines.append(f"if row[{at}] ~= '' then local list = cmsgpack.unpack(row[{at}])")
                lines.append(
                    f"for _, inner in ipairs(list) do up['{field.record}'](inner) end row[{at}] = "
                    "cmsgpack.pack(list) end"
                )
            elif field.packed_one:
                lines.append(f"if row[{at}] ~= '' then local inner = cmsgpack.unpack(row[{at}])")
                lines.append(f"up['{field.record}'](inner) row[{at}] = cmsgpack.pack(inner) end")
            elif field.many or field.each:
                lines.append(f"for _, inner in pairs(row[{at}] ~= '' and row[{at}] or {{}}) do")
                lines.append(f"up['{field.record}'](inner) end")
            elif field.one:
                lines.append(f"if row[{at}] then up['{field.one}'](row[{at}]) end")
        lines.append("end")
    return [*lines, "up[kind](row)", "end"]
