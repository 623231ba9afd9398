"""`ocs-sim peers`: what the server's settings must say of a scenario's network."""

from __future__ import annotations

from typing import Annotated

import typer

from simulator.cli_options import RealmOption
from simulator.elements import SIMULATED_REALM
from simulator.network import peer_entries
from simulator.scenario import load_scenario


def print_peers(
    scenario: Annotated[str, typer.Option(help="A scenario file, or the name of a shipped one.")] = "busy_hour",
    realm: RealmOption = SIMULATED_REALM,
) -> None:
    """Print the `peer` sections that the server needs for a scenario: agents, elements, failover groups."""
    print("\n\n".join(entry.toml() for entry in peer_entries(load_scenario(scenario).network, realm)))
