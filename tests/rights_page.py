"""The table of roles in docs/API.md, made from `ocs/api/rights.py` by `python -m tests.rights_page` (`make docs`)."""

from __future__ import annotations

from pathlib import Path

from ocs.api.rights import OPERATIONS, Role, Scope

PAGE = Path(__file__).parents[1] / "docs" / "API.md"
BEGIN, END = "<!-- roles -->\n", "<!-- end -->\n"
SHORT = {
    Scope.ALL: "all",
    Scope.GROUP: "its group",
    Scope.OWN: "own",
    Scope.OWN_ALONE: "own, if in no group",
    Scope.OWN_ORDERING: "own, if it pays",
}


def table() -> str:
    lines = [f"| operation | {' | '.join(Role)} |", f"|---|{'---|' * len(Role)}"]
    for name, operation in OPERATIONS.items():
        cells = (SHORT[operation.grants[role]] if role in operation.grants else "" for role in Role)
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE}: {len(OPERATIONS)} operations")
