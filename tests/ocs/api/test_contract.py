"""The API keeps its OpenAPI document: schemathesis sends examples, the edges of each schema and random requests, valid
and not, and holds each answer against the document. Always the same requests: the seed is fixed.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from ocs.api.rights import OPERATIONS, Role
from ocs.history.migrating import migrate
from tests.conftest import RedisServer
from tests.ocs.api.desk import OWN
from tests.ocs.api.serving import Served, served

NOBODY = "38668299999"
CONFIG = f"""
seed = 14
[parameters]
"path.msisdn" = "{OWN}"
[[operations]]
# They would take the number away.
include-path-regex = "/(number|port-in|port-out|end)$"
parameters = {{"path.msisdn" = "{NOBODY}"}}
[generation]
max-examples = 2
deterministic = true
[checks]
# What the schema allows may still be refused: a product that is not sold, a credit that does not cover it.
positive_data_acceptance.enabled = false
# 404 is also of a number that a body names.
ensure_resource_availability.enabled = false
"""
ALL = "examples,coverage,fuzzing,stateful"
TIMEOUT_S = 240
SHOWN = 200
"""Characters of a line that are shown: a request may have a million."""


@pytest.fixture
def api(api_redis: RedisServer, tmp_path: Path) -> Iterator[Served]:
    """With an empty history."""
    with redis.Redis(port=api_redis.port) as client:
        client.flushall()
    with served(api_redis.url, data_dir=tmp_path) as made:
        assert made.desk is not None and made.desk.container.history is not None
        migrate(made.desk.container.history.engine)
        yield made


@pytest.mark.long
@pytest.mark.parametrize(
    ("role", "phases"), [(Role.CARE, "examples,coverage,fuzzing,stateful"), (Role.MEMBER, "fuzzing")]
)
def test_every_answer_is_as_the_document_says(api: Served, role: Role, phases: str, tmp_path: Path) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG, encoding="utf-8")
    assert api.desk is not None
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"]
    header = f"Authorization: Bearer {api.desk.keys[role]}"
    done = subprocess.run(
        [*command, f"{api.base}/openapi.json", "-H", header, "--no-color", "--phases", phases],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    lines = [line[:SHOWN] for line in done.stdout.splitlines()]
    assert done.returncode == 0, "\n".join(lines[-150:])
    assert f"Tested: {len(OPERATIONS)}" in done.stdout
