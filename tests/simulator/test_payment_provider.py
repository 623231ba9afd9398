"""The payment provider as a program of its own."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S


def test_it_serves_and_refuses_who_does_not_sign(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s" * 32)
    (tmp_path / "webhook").write_text("whsec_d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3")
    files = ("--secret-file", str(tmp_path / "secret"), "--webhook-secret-file", str(tmp_path / "webhook"))
    command = [sys.executable, "-m", "simulator.payment_provider", "--listen", "127.0.0.1:0", *files]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{url}/debits/1", timeout=PATIENCE_S)
            with refused.value as error:
                assert error.code == 401
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
