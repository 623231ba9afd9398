"""Texts for operators: each log line has a row in docs/MESSAGES.md, and every text follows the rules below."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import typer

from ocs.cli.main import app
from ocs.settings.schema import Settings
from ocs.telemetry.definitions import DEFINITIONS
from simulator.cli import app as simulator_app
from tests.messages import ROOT, Text, texts

LIST = ROOT / "docs" / "MESSAGES.md"


def rows(cells: int) -> list[list[str]]:
    """Rows of the tables with this number of columns: message, meaning, and for warnings what to do."""
    lines = [line for line in LIST.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    found = [re.split(r"(?<!\\)\| ", line.strip("| ")) for line in lines]
    return [[cell.strip() for cell in row] for row in found if len(row) == cells]


def test_nothing_is_left_out() -> None:
    """The collection finds texts in all places."""
    kinds = {text.kind for text in texts()}
    assert {"warning", "error", "info", "StartError", "LedgerError", "DiameterError", "FailedError"} <= kinds
    assert len(texts()) > 250


@pytest.mark.parametrize(
    ("kinds", "cells"), [(("warning", "error", "critical", "exception"), 3), (("info", "debug"), 2)]
)
def test_every_line_of_the_log_is_listed_with_what_to_do(kinds: tuple[str, ...], cells: int) -> None:
    """A new log line needs a row; a removed one must lose its row."""
    logged = {text.template for text in texts() if text.kind in kinds}
    listed = [row[0].strip("`") for row in rows(cells)]
    assert len(listed) == len(set(listed)), "a message is listed twice"
    assert logged - set(listed) == set(), "not in docs/MESSAGES.md"
    assert set(listed) - logged == set(), "in docs/MESSAGES.md, and nobody says it any more"
    assert all(all(row) for row in rows(cells))


# -- rules for every text

ORDINARY = {
    "A",
    "An",
    "Cannot",
    "Could",
    "Error",
    "Failed",
    "Invalid",
    "No",
    "The",
    "There",
    "This",
    "Unable",
    "Unknown",
}
"""First words of a sentence; names of AVPs, commands and products are capitalised too."""
BARE = re.compile(r"^(failed|error|invalid|wrong|bad|not found|unknown)\b[^:…]*$|\b(failed|error)$", re.IGNORECASE)
"""Texts that say that something is wrong, but not what."""
JARGON = re.compile(
    r"(?<![\w-])(so-manieth|no address,|of no use|that it has "
    r"not|\(dpr\)|guest|blob|payload|handler|callback|coroutine|future"
    r"|traceback|exception|None)(?![\w-])"
)
"""Home-made words and programmers' words."""


def test_a_text_says_what_is_the_matter_in_the_fields_words() -> None:
    def fault(text: Text) -> str:
        template = text.template.strip()
        if template.split()[0] in ORDINARY:
            return "begins as a sentence, and stands behind a name or a time"
        if template.endswith((".", "!")):
            return "a full stop at the end of a line"
        if BARE.search(template):
            return "says that something is wrong, and not what"
        if found := JARGON.search(template):
            return f"a word that no operator knows: {found[0]}"
        return "more than one line" if text.logged and "\n" in template else ""

    assert [(each, why) for each in texts() if (why := fault(each))] == []


def test_a_warning_says_whom_or_what_it_is_about_and_why() -> None:
    said = [each for each in texts() if each.kind in ("warning", "error")]
    assert [each for each in said if len(each.template.split()) < 4] == []
    # The type of an exception is not a reason: use reason_of(error), or describe(error) for a fault of ours.
    assert [each for each in said if any("__name__" in argument for argument in each.arguments)] == []


def test_no_subscriber_goes_to_the_log() -> None:
    names = re.compile(r"msisdn|imsi\b|subscriber|subscription_id", re.IGNORECASE)
    logged = [each for each in texts() if each.logged]
    assert [each for each in logged if any(names.search(argument) for argument in each.arguments)] == []


# -- what a text names exists


def setting_keys() -> set[str]:
    keys = set[str]()
    for section, field in Settings.model_fields.items():
        for model in (field.annotation, *get_args(field.annotation)):
            keys |= {f"{section}.{key}" for key in getattr(model, "model_fields", {})}
    return keys


KEYS = setting_keys()
SECTIONS = "|".join(sorted(Settings.model_fields))
FILES = {"redis.conf", "redis.log"}


def test_a_key_that_a_text_names_is_a_setting() -> None:
    key = re.compile(rf"(?<![\w./])(?:{SECTIONS})\.[a-z_]+(?![\w.]*/)")
    assert [each for each in texts() if set(key.findall(each.template)) - FILES - KEYS] == []
    listed = set(re.findall(rf"`((?:{SECTIONS})\.[a-z_]+)`", LIST.read_text(encoding="utf-8")))
    assert listed and listed - KEYS == set()


def commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    yield " ".join(path), command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


def test_a_command_or_option_that_a_text_names_exists() -> None:
    both = ((app, "ocs"), (simulator_app, "ocs-sim"))
    known = dict(each for one, name in both for each in commands(typer.main.get_command(one), (name,)))
    options = {option for command in known.values() for each in command.params for option in each.opts}
    call, option = re.compile(r"`(ocs(?:-sim)?(?: [a-z]+)*)"), re.compile(r"(?<![\w-])--[a-z][a-z-]*")
    assert [each for each in texts() if set(call.findall(each.template)) - known.keys()] == []
    assert [each for each in texts() if set(option.findall(each.template)) - options - {"--version"}] == []
    assert [words for words in re.findall(r"`(ocs [a-z ]+)`", LIST.read_text("utf-8")) if words not in known] == []


def test_the_list_names_metrics_that_exist() -> None:
    named = set(re.findall(r"`(ocs_[a-z_]+)`", LIST.read_text(encoding="utf-8")))
    assert named and named <= DEFINITIONS.keys()
