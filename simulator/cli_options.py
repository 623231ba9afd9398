"""Options that several commands of `ocs-sim` have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

MAX_SPEED = 1_000_000.0
"""Simulated seconds per real one: a week in less than a second."""
DEFAULT_CATALOGUE = Path("config/catalogue.toml")

HostOption = Annotated[str, typer.Option(help="The server's address.")]
PortOption = Annotated[int, typer.Option(min=1, max=65535, help="The server's Diameter port.")]
RealmOption = Annotated[str, typer.Option(help="Origin-Realm of the simulated network.")]
ServerRealmOption = Annotated[str, typer.Option(help="Destination-Realm: the server's.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on standard output instead of a summary.")]
RecordsOption = Annotated[
    Path | None,
    typer.Option(file_okay=False, exists=True, help="The server's records folder, for an audit at the end."),
]
CatalogueOption = Annotated[Path, typer.Option(help="The price list for the audit.")]
MetricsPortOption = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Serve /metrics of the simulator on this port of loopback.")
]
SubscribersOption = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="Provisioned subscribers: CSV with msisdn, imsi, package, credit."),
]


def writable(*outputs: Path | None) -> None:
    """Makes the folders of the files to be written, before a run that would be lost. Raises OSError."""
    for path in outputs:
        if path is None:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        existed = path.exists()
        with path.open("ab"):
            pass
        if not existed:
            path.unlink()
