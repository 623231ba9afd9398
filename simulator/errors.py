"""Errors that the command line prints in one line."""

from __future__ import annotations


class SimulatorError(Exception):
    """Base of the errors that the command line prints as they are."""


class CaptureError(SimulatorError):
    """A capture or a recording cannot be read, or has no request in it."""
