"""`ocs numbers check`: checks a file of ported numbers as the server does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ocs.catalogue.ported_numbers import PortedNumbersError, lines_with_two_networks, read_ported_numbers
from ocs.cli.common import DEFAULT, ConfigOption, FailedError, JsonOption, counted, load_all, print_json

app = typer.Typer(help="Check the table of ported numbers.", no_args_is_help=True)


@app.callback()
def _numbers() -> None:
    """Check the table of ported numbers."""


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="CSV file: a number and its network in each line.")],
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Check a file of ported numbers, and show its networks with their destination classes."""
    _, catalogues = load_all(config)
    try:
        numbers = read_ported_numbers(file)
    except PortedNumbersError as error:
        raise FailedError("\n".join([*error.mistakes, *lines_with_two_networks(file)])) from None
    classes = catalogues.in_force().networks
    rows = [
        {"network": network, "numbers": count, "destination": classes.get(network)}
        for network, count in sorted(numbers.count().items())
    ]
    if json:
        print_json({"numbers": len(numbers), "networks": rows})
        return
    print(f"{file}: no mistakes; {counted(len(numbers), 'number')}")
    for row in rows:
        print(f"{row['network']}: {row['numbers']}, {row['destination'] or 'no class names it: the prefix decides'}")
