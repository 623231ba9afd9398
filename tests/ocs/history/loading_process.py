"""A process that loads a folder of records until it is killed: `python -m tests.ocs.history.loading_process URL FOLDER
OCTETS`. It writes "." whenever a batch is stored, and "-" when nothing is left to load.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from ocs.history.engine import history_engine
from ocs.history.loader import Loader
from ocs.settings.history_section import HistorySection
from tests.ocs.history.records import month_of, projection

if __name__ == "__main__":
    url, folder, octets = sys.argv[1:]
    each = Loader(
        history_engine(HistorySection(url=url), Path()), Path(folder), projection(month_of), octets=int(octets)
    )
    while True:
        if each.step():
            print(".", end="", flush=True)
        else:
            print("-", end="", flush=True)
            time.sleep(0.01)
