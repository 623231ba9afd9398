"""Python imports it at the start of each process of the server, as its folder is first in PYTHONPATH."""

import os
import sys

_roles = [word.removeprefix("ocs.process.") for word in sys.orig_argv if word.startswith("ocs.process.")]
if _roles and "KILLS_FOLDER" in os.environ:
    from tests.faults.kills.steps import install

    install(os.environ["KILLS_FOLDER"], _roles[0])
