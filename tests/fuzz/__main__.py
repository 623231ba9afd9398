"""Coverage-guided fuzzing of frame → decode → charge: `make fuzz`. The invariant is stated in `target`.

The corpus in out/fuzz/corpus grows from run to run; it begins with the captures, the vectors and a request of every
kind. An input that breaks the invariant is stored as out/fuzz/crash-*; `python -m tests.fuzz out/fuzz/crash-…` runs it
again.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["protocol", "ocs.charging"], enable_loader_override=False):
    from tests.fuzz.target import FIXED, WHOLE, Target

from tests.fuzz.mutate import mutate
from tests.protocol import captures
from tests.protocol.requests import base, ccrs

RUNS = 1_000_000
MAX_OCTETS = 4_096
"""Four times the longest request of the captures."""
WATCHDOG = (280).to_bytes(3, "big")
"""Half of the captured messages are DWRs; one in `base` is enough."""
SLOW_S = 5
MEMORY_MB = 1_024


def seeds() -> list[bytes]:
    """All messages of real peers, our own requests, and streams of several."""
    frames = [*ccrs().values(), *base().values(), *captures.vectors().values()]
    for path in captures.BY_CLIENT.values():
        frames += dict.fromkeys(frame for frame in captures.frames(path) if frame[5:8] != WATCHDOG)
    routed = bytes([FIXED | 4])
    streams = [b"".join(frames[at : at + 3]) for at in range(0, len(frames), 3)]
    return [
        *(bytes([FIXED]) + frame for frame in frames),
        *(routed + frame for frame in frames),
        *(bytes([WHOLE | 5 << 3]) + stream for stream in streams),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    parser.add_argument("--folder", type=Path, default=Path("out/fuzz"))
    parser.add_argument("inputs", nargs="*", type=Path, help="inputs to be played again")
    args = parser.parse_args()
    options = [f"-max_len={MAX_OCTETS}", f"-timeout={SLOW_S}", f"-rss_limit_mb={MEMORY_MB}"]
    if args.inputs:
        options += [str(path) for path in args.inputs]
    else:
        corpus = args.folder / "corpus"
        corpus.mkdir(parents=True, exist_ok=True)
        for data in seeds():
            (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
        options += [f"-artifact_prefix={args.folder}/", f"-runs={args.runs}", "-print_final_stats=1", str(corpus)]
        if args.seed:
            options.append(f"-seed={args.seed}")
    target = Target()
    atheris.Setup(
        [sys.argv[0], *options],
        target,
        custom_mutator=lambda data, max_size, seed: mutate(data, max_size, seed, atheris.Mutate),
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
