"""A short run of the fuzzer, and inputs that once broke the invariant."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from protocol.avp import encode_avp
from protocol.header import HEADER_OCTETS, build
from tests.fuzz.target import FIXED, Target
from tests.protocol.requests import base, ccrs

RUNS = 8_000
SEED = 8506
ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="atheris is built for Linux on x86-64"
)
@pytest.mark.long
def test_a_short_run(tmp_path: Path) -> None:
    """Some seconds with the same inputs each time; `make fuzz` runs longer."""
    command = [sys.executable, "-m", "tests.fuzz", "--runs", str(RUNS), "--seed", str(SEED), "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-4_000:]
    executed = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    assert executed is not None and int(executed[1]) >= RUNS


def test_the_target_charges_what_it_can_decode() -> None:
    target = Target()
    for frame in [*ccrs().values(), *base().values()]:
        target(bytes([FIXED]) + frame)
    assert target.charged == len(ccrs())


BROKEN_PROXY_INFO = encode_avp(284, 0, 0x40, encode_avp(280, 0, 0x40, b"dra") + b"\0\0\0\x21\x40\0\xff\xffstate")


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(build(BROKEN_PROXY_INFO, 0xC0, 272, 4, 1, 2), id="an AVP in Proxy-Info that runs past its end"),
        pytest.param(build(b"", 0xC0, 272, 4, 1, 2), id="nothing but a header"),
        pytest.param(
            build(encode_avp(263, 0, 0x40, b"") + next(iter(ccrs().values()))[HEADER_OCTETS:], 0xC0, 272, 4, 1, 2),
            id="an empty Session-Id before the real one",
        ),
        pytest.param(build(b"", 0x00, 272, 4, 1, 2), id="an answer with nothing in it"),
    ],
)
def test_inputs_that_were_found(frame: bytes) -> None:
    target = Target()
    for _ in range(64):  # one of them goes to python-diameter too
        target(bytes([FIXED]) + frame)
