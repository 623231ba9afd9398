"""Texts and conditions of notices: Jinja2 in a sandbox, without globals (HOT-NOT-1).

A text sees the fields of its event and the filters of `words`; an unknown name is a mistake, never an empty text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import StrictUndefined, TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ocs.notices.words import Words

Values = Mapping[str, object]


class TextError(ValueError):
    """A text or condition cannot be used. The message says why, in words that follow its key."""


class _Environment(ImmutableSandboxedEnvironment):
    """Texts are short: an operator that makes long strings of short ones is none of theirs."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        raise TextError(f"has the operator {operator}: texts do not compute")


class Templates:
    """Compiles texts of one language."""

    def __init__(self, words: Words) -> None:
        self._environment = _Environment(undefined=StrictUndefined, autoescape=False, cache_size=0)
        self._environment.globals.clear()
        self._environment.filters = dict(words.filters)

    def text(self, source: str) -> Callable[[Values], str]:
        """TextError: it is no template. The result raises TextError when a value does not fit."""
        try:
            template = self._environment.from_string(source)
        except TemplateError as error:
            raise TextError(_said(error)) from None

        def render(values: Values) -> str:
            try:
                return " ".join(template.render(values).split())
            except TextError:
                raise
            except (TemplateError, TypeError, ValueError, KeyError, ArithmeticError, AttributeError) as error:
                raise TextError(_said(error)) from None

        return render

    def condition(self, source: str) -> Callable[[Values], bool]:
        """ "" is always true. TextError as above."""
        if not source:
            return lambda values: True
        try:
            expression = self._environment.compile_expression(source, undefined_to_none=False)
        except TemplateError as error:
            raise TextError(_said(error)) from None

        def holds(values: Values) -> bool:
            try:
                return bool(expression(**values))
            except (TemplateError, TypeError, ValueError, KeyError, ArithmeticError, AttributeError) as error:
                raise TextError(_said(error)) from None

        return holds

    def names(self, source: str, *, is_condition: bool = False) -> set[str]:
        """Fields that it names. TextError: it is no template."""
        try:
            return meta.find_undeclared_variables(
                self._environment.parse("{{ " + source + " }}" if is_condition else source)
            )
        except TemplateError as error:
            raise TextError(_said(error)) from None


def _said(error: Exception) -> str:
    return f"cannot be used: {str(error).rstrip('.')}"
