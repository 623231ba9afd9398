"""What can go wrong that a person should read in one line."""

from __future__ import annotations


class SimulatorError(Exception):
    """Base of the errors that the command line prints as they are."""
