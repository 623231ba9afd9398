"""`ocs catalogue …`: check versions of the catalogue, compare them, load one into a ledger that is in use."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ocs.accounts.catalogue_versions import CatalogueVersions
from ocs.catalogue.catalogue import Catalogue, load_catalogue, parse_catalogue
from ocs.catalogue.diff import differences
from ocs.catalogue.price_sheet import SheetReader
from ocs.catalogue.problems import CatalogueError, Problem
from ocs.catalogue.reading import MAX_FILE_OCTETS, read_text
from ocs.catalogue.sheet_import import Kind, import_zones
from ocs.catalogue.versions import StoredVersion, check_together, load_versions, version_files
from ocs.cli.common import (
    DEFAULT,
    Backend,
    ConfigOption,
    JsonOption,
    WrongCallError,
    counted,
    load_all,
    print_json,
    with_backend,
)
from ocs.cli.notices import check_texts
from ocs.cli.show import print_versions
from ocs.compose import check_services
from ocs.ledger.redis.installation import OpenMode
from ocs.values.money import gross_micro_eur

ILLUSTRATIVE = "is illustrative: an example, to be replaced by the operator's value"

app = typer.Typer(help="Check, compare and load versions of the catalogue.", no_args_is_help=True)


@app.callback()
def _catalogue() -> None:
    """Check, compare and load versions of the catalogue."""


@app.command()
def check(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files or folders; without any, the catalogue of the settings.")
    ] = None,
    production: Annotated[bool, typer.Option(help="Refuse values that are marked illustrative.")] = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Check versions of the catalogue, each by itself and all together."""
    paths = files or [Path(load_all(config)[0].server.catalogue)]
    problems: list[Problem] = []
    versions: list[tuple[str, Catalogue]] = []
    for path in [file for each in paths for file in version_files(each) or [each]]:
        try:
            versions.append((str(path), load_catalogue(path)))
        except CatalogueError as error:
            problems += error.problems
    problems += check_together(versions) if len(versions) > 1 else []
    if production:
        problems += [Problem(file, key, "", ILLUSTRATIVE) for file, each in versions for key in each.illustrative]
    if problems:
        raise CatalogueError(problems)
    check_texts(versions)
    for file, each in versions:
        examples = f", {counted(len(each.illustrative), 'value')} illustrative" if each.illustrative else ""
        print(f"{file}: version {each.version} is right{examples}")


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A file, or a version of the settings' catalogue or ledger.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Likewise.")],
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """What changes from A to B: prices, rates, products, places, with percent for prices and quantities."""
    found: dict[str, Catalogue] = {name: load_catalogue(Path(name)) for name in (a, b) if Path(name).is_file()}

    def add(versions: Iterable[Catalogue]) -> list[str]:
        """Names that are still unknown."""
        for version in versions:
            found.setdefault(version.version, version)
        return [name for name in (a, b) if name not in found]

    async def work(backend: Backend) -> None:
        add(backend.catalogue.versions)

    if add(()) and add(load_all(config)[1].versions):
        with_backend(config, OpenMode.READ, work)
    if unknown := add(()):
        raise WrongCallError(f"{unknown[0]} is neither a file nor a version; there are {', '.join(sorted(found))}")
    changes = differences(found[a], found[b])
    if json:
        print_json([change.data() for change in changes])
        return
    for change in changes:
        print(change.text())
    if not changes:
        print("nothing changes")


@app.command()
def load(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A version of the catalogue.")],
    now: Annotated[bool, typer.Option("--now", help="It begins within seconds, whatever valid_from says.")] = False,
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Load a version for all running processes, or for none; no restart is needed."""
    settings, _ = load_all(config)
    version = load_catalogue(file)
    check_services(config, settings, version)
    check_texts([(str(file), version)])

    async def work(backend: Backend) -> None:
        loaded = await _versions(backend, Path(settings.server.catalogue)).load(file, at_once=now, by=_who())
        first = backend.catalogue.versions[0]
        begins = _local(first, loaded.begins_at)
        last = _local(first, loaded.old_prices_until) if loaded.old_prices_until else ""
        if json:
            found = {"version": loaded.name, "valid_from": begins, "processes": loaded.readers, "again": loaded.again}
            print_json({**found, "old_prices_until": last or None})
            return
        if loaded.again:
            print(f"version {loaded.name} was loaded before, valid from {begins}: no change")
            return
        print(f"version {loaded.name} is loaded, valid from {begins}: {counted(loaded.readers, 'process')} can use it")
        if last:
            print(f"grants that were given before keep their prices, until {last} at most", file=sys.stderr)

    with_backend(config, OpenMode.WRITE, work)


@app.command("list")
def list_versions(json: JsonOption = False, config: ConfigOption = DEFAULT) -> None:
    """Versions of the settings' catalogue and of the ledger: from when on, loaded by whom, which is in force."""
    settings, _ = load_all(config)
    of_files = {each.version for each in load_versions(Path(settings.server.catalogue))}

    async def work(backend: Backend) -> None:
        _, stored = await backend.ledger.catalogue_versions()
        known = {each.name: each for each in stored}
        in_force = backend.catalogue.in_force()
        rows = [
            _row(each, known.get(each.version), in_file=each.version in of_files, in_force=each is in_force)
            for each in backend.catalogue.versions
        ]
        if json:
            print_json(rows)
        else:
            print_versions(rows)

    with_backend(config, OpenMode.READ, work)


@app.command("import-prices")
def import_prices(
    sheet: Annotated[Path, typer.Argument(metavar="SHEET", help="CSV of a spreadsheet: a row a zone.")],
    into: Annotated[Path, typer.Option(help="The catalogue file that the zones are written into.")],
    kind: Annotated[
        Kind, typer.Option(help="destination: calls and messages to the zones; place: use while roaming there.")
    ] = Kind.DESTINATION,
    net: Annotated[bool, typer.Option(help="Prices of the sheet are without VAT.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write there, and leave --into as it is.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Show what would change, and write nothing.")] = False,
) -> None:
    """Write a price list from a spreadsheet into a catalogue file; the rest of the file stays."""
    before = load_catalogue(into)
    vat = before.vat_percent if net else 0
    if sheet.stat().st_size > MAX_FILE_OCTETS:
        raise WrongCallError(f"{sheet} is larger than {MAX_FILE_OCTETS} octets: is it a price list?")
    zones = SheetReader(str(sheet), lambda micro_eur: gross_micro_eur(micro_eur, vat)).read(sheet.read_bytes())
    text = import_zones(read_text(into, str(into)), zones, kind, str(sheet))
    after = parse_catalogue(text, f"{into} with {sheet.name}")
    changes = differences(before, after)
    for change in changes:
        print(change.text())
    if dry_run:
        print(f"{counted(len(changes), 'change')}; nothing was written", file=sys.stderr)
        return
    target = out or into
    if text != read_text(into, str(into)) or out is not None:
        _write(target, text, newline="\r\n" if b"\r\n" in into.read_bytes() else "\n")
    print(f"{counted(len(changes), 'change')} from {counted(len(zones), 'zone')} written to {target}", file=sys.stderr)


def _write(path: Path, text: str, newline: str) -> None:
    """Whole or not at all. A link stays one, and a file that was there keeps its permissions."""
    if path.is_dir():
        raise WrongCallError(f"{path} is a folder: name a file")
    path = path.resolve()
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8", newline=newline)
    if path.exists():
        shutil.copymode(path, part)
    part.replace(path)


def _row(version: Catalogue, stored: StoredVersion | None, *, in_file: bool, in_force: bool) -> dict[str, object]:
    return {
        "version": version.version,
        "valid_from": _local(version, version.begins_at),
        "in_force": in_force,
        "in_file": in_file,
        "loaded_by": stored.loaded_by if stored else None,
        "loaded_at": datetime.fromtimestamp(stored.loaded_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if stored else None,
    }


def _versions(backend: Backend, folder: Path) -> CatalogueVersions:
    environment = backend.environment
    files = load_versions(folder)
    return CatalogueVersions(backend.ledger, folder, files, environment.now, lambda: f"{environment.entropy():016x}")


def _local(version: Catalogue, unix_s: int) -> str | None:
    """ISO 8601 in the operator's time zone, with the offset; None = there is none before it."""
    return datetime.fromtimestamp(unix_s, version.time_zone).isoformat() if unix_s else None


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"user {os.getuid()}"
    return f"{user} at {socket.gethostname()}"
