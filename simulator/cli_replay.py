"""`ocs-sim replay`: captures and recordings of real traffic."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from simulator.cli_options import (
    DEFAULT_CATALOGUE,
    MAX_SPEED,
    CatalogueOption,
    HostOption,
    JsonOption,
    PortOption,
    RecordsOption,
    ServerRealmOption,
    writable,
)
from simulator.elements import SERVER_REALM, SIMULATED_REALM
from simulator.engine import Target
from simulator.outside_audit import audit
from simulator.peer import Identity
from simulator.prices import PriceList
from simulator.progress_line import ProgressLine
from simulator.requests import Subscriber
from simulator.show import output, print_audit, print_json, print_recording_replay, print_replayed
from simulator.subscribers import FIRST_IMSI, FIRST_MSISDN
from simulator.summary import audit_json

ScaleOption = Annotated[
    int, typer.Option(min=1, max=10_000, help="A recording: so many times at once, each with its own subscribers.")
]


def _refuse(options: Mapping[str, object], why: str) -> None:
    """Raises BadParameter for those that are given and would do nothing."""
    for name, value in options.items():
        if value:
            raise typer.BadParameter(f"{name} {why}")


def recorded_subscribers(recording: Path, scale: int) -> tuple[Subscriber, ...]:
    """Those that a replay of the recording needs."""
    from simulator.recording import read_recording
    from simulator.replay_recording import subscribers_of

    return subscribers_of(read_recording(recording), scale)


def replay_file(
    capture: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A .pcap or .pcapng file, or a recording of `record`.")
    ],
    speed: Annotated[
        float, typer.Option(min=0.01, max=MAX_SPEED, help="A recording: recorded seconds per real one.")
    ] = 1.0,
    scale: ScaleOption = 1,
    host: HostOption = "127.0.0.1",
    port: PortOption = 3868,
    server_realm: ServerRealmOption = SERVER_REALM,
    msisdn: Annotated[str, typer.Option(help="Provisioned number that replaces the captured subscriber.")] = str(
        FIRST_MSISDN
    ),
    imsi: Annotated[str, typer.Option(help="Its IMSI.")] = str(FIRST_IMSI),
    map_subscriber: Annotated[
        Path | None,
        typer.Option(exists=True, help="CSV with captured, msisdn, imsi, for captures with several subscribers."),
    ] = None,
    origin_host: Annotated[str | None, typer.Option(help="Connect as this peer instead of the captured one.")] = None,
    origin_realm: Annotated[str | None, typer.Option(help="Realm of that peer.")] = None,
    capture_port: Annotated[int, typer.Option(min=1, max=65535, help="Diameter port in the capture.")] = 3868,
    records: RecordsOption = None,
    catalogue: CatalogueOption = DEFAULT_CATALOGUE,
    report: Annotated[Path | None, typer.Option(dir_okay=False, help="Write an HTML report here.")] = None,
    json: JsonOption = False,
) -> None:
    """Send the credit-control requests of a capture again, for a provisioned subscriber; or play a recording."""
    from simulator.capture import captured_requests
    from simulator.recording import is_recording, read_recording
    from simulator.replay import Numbers, SubscriberMap, replay, replay_json
    from simulator.replay_recording import replay_recording

    writable(report)
    if is_recording(capture):
        captures_only = {"--map-subscriber": map_subscriber, "--records": records}
        _refuse(captures_only, "belongs to a capture; a recording has subscribers of its own (`ocs-sim subscribers`)")
        client = Identity(origin_host, origin_realm or SIMULATED_REALM) if origin_host else None
        target = Target(host, port, SIMULATED_REALM, server_realm)
        line = ProgressLine()
        played = uvloop.run(
            replay_recording(read_recording(capture), target, speed=speed, copies=scale, client=client, line=line)
        )
        print_json(played.as_json()) if json else print_recording_replay(output(), played)
        if report:
            from simulator.replay_report import write_recording_report  # matplotlib takes long to import

            write_recording_report(played, report, name=capture.name, made_at=datetime.datetime.now().astimezone())
        raise typer.Exit(0 if played.ok else 1)
    _refuse(
        {"--speed": speed != 1.0, "--scale": scale != 1},
        "belongs to a recording: make one of this capture by `ocs-sim record`",
    )
    numbers = Numbers(msisdn, imsi)
    mapping = SubscriberMap.read(map_subscriber, numbers) if map_subscriber else SubscriberMap(numbers)
    requests = captured_requests(capture, port=capture_port)
    prices = PriceList.read(catalogue) if records else None
    console = output()
    result = uvloop.run(
        replay(
            requests, host=host, port=port, server_realm=server_realm, subscribers=mapping,
            origin_host=origin_host, origin_realm=origin_realm,
            on_request=None if json else lambda request: print_replayed(console, request),
        )
    )  # fmt: skip
    checked = audit(result.sessions, records, prices) if records and prices else None
    if json:
        print_json({**replay_json(result), "audit": audit_json(checked) if checked else None})
    elif checked:
        print_audit(console, checked)
    if not json and not result.ok:
        console.print(
            f"{len(result.requests)} requests: {result.unanswered} unanswered, {result.errors} answered with an error"
        )
    if report:
        from simulator.replay_report import write_capture_report

        write_capture_report(result, report, name=capture.name, made_at=datetime.datetime.now().astimezone())
    raise typer.Exit(0 if result.ok and (checked is None or checked.ok) else 1)
