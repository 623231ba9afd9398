"""Languages of texts for subscribers, ISO 639-1."""

from __future__ import annotations

LANGUAGES = ("sl", "en")
"""The first is that of subscribers that chose none, if the catalogue does not say another."""
