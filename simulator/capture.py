"""The credit-control requests of a packet capture (`packets` reads it)."""

from __future__ import annotations

from pathlib import Path

from simulator.errors import CaptureError
from simulator.packets import CapturedMessage, Losses, captured_messages
from simulator.wire import CMD_CCR, read_head

APP_CREDIT_CONTROL = 4
DIAMETER_PORT = 3868


def captured_requests(path: Path, *, port: int = DIAMETER_PORT) -> list[CapturedMessage]:
    """Every CCR of application 4 that a client sent to `port`, in order. Raises CaptureError."""
    requests = []
    for message in captured_messages(path, port, Losses()):
        head = read_head(message.frame)
        if message.to_server and head.is_request and head.command == CMD_CCR and head.application == APP_CREDIT_CONTROL:
            requests.append(message)
    if not requests:
        raise CaptureError(f"{path}: no credit-control request (command 272 of application 4) to port {port} in it")
    return requests
