"""No test fails by timing: the bound of a wait for what must come about is the one of tests/waiting.py."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[1]
WAITS = {"wait", "wait_for", "until", "timeout", "settimeout", "join", "communicate", "timeout_at"}
"""Functions whose last argument is a bound in seconds."""
DATES = (".now", ".today", ".utcnow", "time.time", "when", "today")
BOUNDS = {"seconds", "timeout_s"}
"""Parameters that are bounds: their defaults."""
CLOCKS = {"monotonic", "perf_counter", "time"}
HELPERS = {"wait_for", "wait_until", "until", "until_not", "eventually"}
MEANT = {
    "tests/faults/pgw.py": "how long nothing must come",
    "tests/ocs/payments/till.py": "by a clock of the test",
    "tests/faults/crowd.py": "the bad peers' own patience: they do something else when nothing comes",
    "tests/interop/test_freediameter.py": "after 2 s a relay that does not end is killed",
    "tests/ocs/ledger/test_outbox.py": "WAIT of Redis: milliseconds, in a loop",
    "tests/ocs/ledger/test_script_call.py": "the deadline of a request that the test makes",
}
"""Files with short bounds that are not those of a failure, and why."""
TREES = {
    str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "tests").rglob("*.py"))
}


def number(node: ast.expr) -> float | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, int | float) else None


def called(node: ast.AST) -> str:
    """Name of the function that the expression calls; "" if it is no call."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def bounds(tree: ast.AST) -> Iterator[tuple[int, float]]:
    """Line and seconds of each bound that is a number."""
    for node in ast.walk(tree):
        found: list[ast.expr] = []
        if isinstance(node, ast.Call):
            found += [each.value for each in node.keywords if each.arg == "timeout"]
            found += node.args[-1:] if called(node) in WAITS else []
        elif isinstance(node, ast.arguments):
            named = [*node.posonlyargs, *node.args][-len(node.defaults) :] if node.defaults else []
            defaults = [*zip(named, node.defaults, strict=True), *zip(node.kwonlyargs, node.kw_defaults, strict=True)]
            for argument, default in defaults:
                if argument.arg in BOUNDS and default is not None and (seconds := number(default)) is not None:
                    yield default.lineno, seconds
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and called(node.left) in CLOCKS:
            found = [node.right]
        for each in found:
            if (seconds := number(each)) is not None:
                yield node.lineno, seconds  # type: ignore[attr-defined]


def test_each_wait_has_the_common_bound_and_the_common_helper() -> None:
    wrong = []
    for name, tree in TREES.items():
        short = [] if name in MEANT else [(line, seconds) for line, seconds in bounds(tree) if 0 < seconds < PATIENCE_S]
        wrong += [f"{name}:{line}: {seconds} s: take PATIENCE_S of tests/waiting.py" for line, seconds in short]
        own = {each.name for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)} & HELPERS
        wrong += [f"{name}: {each}: take that of tests/waiting.py" for each in own if name != "tests/waiting.py"]
    assert not wrong, "\n".join(wrong)


def test_no_day_is_computed_when_a_module_is_imported() -> None:
    """The import may be long before the test, and midnight between them."""
    wrong = []
    for name, tree in TREES.items():
        outside = [each for each in tree.body if isinstance(each, ast.Assign | ast.AnnAssign)]
        calls = [node for each in outside for node in ast.walk(each) if isinstance(node, ast.Call)]
        wrong += [f"{name}:{node.lineno}" for node in calls if ast.unparse(node.func).endswith(DATES)]
    assert not wrong, wrong


def test_each_exception_is_needed() -> None:
    for name in MEANT:
        assert any(seconds < PATIENCE_S for _, seconds in bounds(TREES[name])), name


def test_the_bounds_are_found() -> None:
    text = (
        "p.wait(3)\nrun(x, timeout=4)\nend = time.monotonic() + 5\nawait asyncio.wait_for(x, 6.5)\nq.get()\nwait(x, y)"
    )
    assert sorted(bounds(ast.parse(text))) == [(1, 3), (2, 4), (3, 5), (4, 6.5)]
