"""Dialects: how each network element spells its requests, and how it answers RAR and ASR. Each is a TOML file here.

    pgw     32251  several MSCC with rating groups, PS-Information (serving PLMN, location, APN)
    ims     32260  calling and called party, role of the node, CC-Time
    msc     32276  the same for circuit-switched calls, VCS-Information with the switch's number
    smsc    32274  immediate event charging, or INITIAL and TERMINATION around the delivery
    mmsc    32270  immediate event charging
    open5gs, teravm, cisco, ericsson: P-GWs; kamailio: an S-CSCF (TS 32.299 §6.4, §7.2)

`dialect` reads the files (docs/SIMULATOR.md describes them). `encoding` makes the octets, with python-diameter.
"""

from simulator.dialects.dialect import Dialect, DialectError, load_dialect
from simulator.dialects.encoding import Sender, encode, origin_host, render
from simulator.dialects.fields import ecgi, tbcd

__all__ = [
    "Dialect",
    "DialectError",
    "Sender",
    "ecgi",
    "encode",
    "load_dialect",
    "origin_host",
    "render",
    "tbcd",
]
