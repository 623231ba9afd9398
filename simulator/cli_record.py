"""`ocs-sim record`: a recording of a capture, of a mirrored port's stream, or of what a proxy passes on."""

from __future__ import annotations

import asyncio
import io
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console

from simulator.cli_options import JsonOption
from simulator.show import output, print_json

if TYPE_CHECKING:
    from typing import BinaryIO

    from simulator.pseudonyms import Pseudonyms
    from simulator.recorder import Recorder, RecordingSummary
    from simulator.recording_proxy import Address

KEY_OCTETS = 32
LINE_S, PRINTED_LINE_S = 0.5, 10.0
"""Between progress lines on a terminal, and between those that are printed elsewhere."""
STDIN = "-"


def record_traffic(
    source: Annotated[
        str,
        typer.Argument(
            metavar="CAPTURE", help="A .pcap or .pcapng file; - = such a stream on standard input. None with --proxy."
        ),
    ],
    out: Annotated[Path | None, typer.Argument(metavar="FILE", dir_okay=False, help="The recording to write.")] = None,
    key_file: Annotated[
        Path, typer.Option(dir_okay=False, help="The key of the pseudonyms; made if it does not exist.")
    ] = Path("out/pseudonyms.key"),
    capture_port: Annotated[int, typer.Option(min=1, max=65535, help="The server's Diameter port.")] = 3868,
    proxy: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Listen here, pass Diameter on to --to, and record it.")
    ] = None,
    to: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="The server behind the proxy.")] = None,
    json: JsonOption = False,
) -> None:
    """Make a recording: requests with their times and answers, subscribers by pseudonyms. Ctrl-C ends it, with a
    complete file.
    """
    from simulator.pseudonyms import Pseudonyms
    from simulator.recording_proxy import Stop

    target = _target(source, out, proxy, to)
    pseudonyms = Pseudonyms(_key(key_file))
    with Stop() as stop, ProgressLine(Console(stderr=True)) as line:
        if proxy is not None and to is not None:
            found = _proxied(_address(proxy, "--proxy"), _address(to, "--to"), target, pseudonyms, stop, line)
        else:
            found = _captured(source, target, pseudonyms, capture_port, stop, line)
    if json:
        print_json(asdict(found))
    else:
        _say(found, target)


def _target(source: str, out: Path | None, proxy: str | None, to: str | None) -> Path:
    """The file to write. Raises typer.BadParameter."""
    if (proxy is None) is not (to is None):
        raise typer.BadParameter("--proxy and --to are needed together")
    if proxy is not None:
        if proxy == to:
            raise typer.BadParameter(f"{to} is the proxy itself, which would be its own server: --to is the server")
        if out is not None:
            raise typer.BadParameter("with --proxy there is no capture: give the file to write only")
        return Path(source)
    if out is None:
        raise typer.BadParameter("the file to write is missing: ocs-sim record CAPTURE FILE")
    if source != STDIN and not Path(source).is_file():
        raise typer.BadParameter(f"there is no file {source}")
    if source != STDIN and out.exists() and out.samefile(source):
        raise typer.BadParameter("that is the capture itself: name another file to write")
    return out


def _address(text: str, option: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdecimal() and int(port) < 65536):
        raise typer.BadParameter(f"{text!r} is no HOST:PORT", param_hint=option)
    return host.strip("[]"), int(port)


def _captured(
    source: str, out: Path, pseudonyms: Pseudonyms, port: int, stopped: Callable[[], bool], line: ProgressLine
) -> RecordingSummary:
    from simulator.recorder import record
    from simulator.recording_proxy import StoppableInput

    if source != STDIN:
        return record(Path(source), out, pseudonyms, port=port, stopped=stopped, tell=line)
    raw = StoppableInput(sys.stdin.fileno(), stopped, line.again)
    stream = cast("BinaryIO", io.BufferedReader(raw, buffer_size=1 << 16))
    return record(stream, out, pseudonyms, port=port, tell=line)  # what has come is recorded, then it ends


def _proxied(
    listen: Address, to: Address, out: Path, pseudonyms: Pseudonyms, stopped: Callable[[], bool], line: ProgressLine
) -> RecordingSummary:
    from simulator.recording_proxy import record_as_proxy

    return asyncio.run(record_as_proxy(listen, to, out, pseudonyms, stopped=stopped, tell=line))


class ProgressLine:
    """What has been recorded so far: a line that changes on a terminal, else a line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("recording; Ctrl-C ends it")
        self._pause_s = LINE_S if console.is_terminal else PRINTED_LINE_S
        self._next_s = time.monotonic() + self._pause_s
        self._recorder: Recorder | None = None

    def __enter__(self) -> ProgressLine:
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def __call__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        if (now := time.monotonic()) >= self._next_s:
            self._next_s = now + self._pause_s
            self._show(recorder)

    def again(self) -> None:
        """Nothing has come."""
        if self._recorder is not None:
            self(self._recorder)

    def _show(self, recorder: Recorder) -> None:
        text = (
            f"{recorder.count:,} requests in {recorder.seconds:,.0f} s, {recorder.open_sessions:,} sessions open;"
            " Ctrl-C ends it"
        )
        if self._console.is_terminal:
            self._status.update(text)
        else:
            self._console.print(text)


def _say(found: RecordingSummary, out: Path) -> None:
    losses, console = found.losses, output()
    console.print(
        f"{found.requests:,} requests of {found.sessions:,} sessions and {found.peers} peers in {found.seconds:,.1f} s;"
        f" {found.unanswered:,} without an answer, {found.repetitions:,} repetitions left out: {out}"
    )
    if losses.gaps or losses.broken:
        console.print(f"[yellow]![/] {losses.gaps} gaps, and {losses.broken} places that are not Diameter")
    if found.left_out or found.forgotten:
        console.print(
            f"[yellow]![/] {found.left_out:,} requests of too many peers left out,"
            f" {found.forgotten:,} open sessions forgotten"
        )


def _key(path: Path) -> bytes:
    """The key in the file; a new one only its owner can read. Raises OSError."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(KEY_OCTETS) + "\n", "ascii")
    return path.read_bytes().strip()
