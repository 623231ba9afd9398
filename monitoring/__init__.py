"""Dashboards, recording rules, alerts and runbooks as code; `make docs` writes them. Not shipped in the package."""
