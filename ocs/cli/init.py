"""`ocs init`: writes a settings file and a catalogue to edit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from ocs.cli.common import FailedError
from ocs.settings.loading import CATALOGUE, DEFAULT_CONFIG, DEFAULTS, load_settings

_DATA_DIR = re.compile(r'^data_dir = "\.\./data" ', re.MULTILINE)
"""The line of the shipped settings. They are in `config/`, so its data folder is beside that one."""


def init(
    folder: Annotated[
        Path, typer.Argument(file_okay=False, help="Folder to write to; created if it does not exist.")
    ] = DEFAULT_CONFIG.parent,
) -> None:
    """Write a settings file and a catalogue to edit. Nothing is overwritten."""
    settings = (DEFAULTS / DEFAULT_CONFIG.name).read_text(encoding="utf-8")
    if folder != DEFAULT_CONFIG.parent:
        settings, found = _DATA_DIR.subn('data_dir = "data"    ', settings)
        assert found == 1, "the shipped settings have another data_dir"
    texts = {
        folder / DEFAULT_CONFIG.name: settings,
        folder / CATALOGUE: (DEFAULTS / CATALOGUE).read_text(encoding="utf-8"),
    }
    for path in texts:
        if path.exists() or path.is_symlink():
            raise FailedError(f"{path} exists already: nothing was written")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    _print_next_steps(folder / DEFAULT_CONFIG.name)


def _print_next_steps(config: Path) -> None:
    option = "" if config == DEFAULT_CONFIG else f" --config {config}"
    print(f"wrote {config} (who may connect, addresses) and {config.parent / CATALOGUE} (packages, prices): edit them")
    print(f"the ledger and the charging records will be in {load_settings(config, {}).data_dir}")
    print(f"then: ocs serve{option}")
