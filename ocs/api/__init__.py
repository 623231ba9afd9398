"""The HTTP API: resources over the services of `ocs.accounts`. docs/API.md says how to use it and how to add to it."""
