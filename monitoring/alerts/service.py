"""Alerts on the service: answers, latency, time to unblock, processes, certificates, API."""

from __future__ import annotations

from monitoring.alerts.alert import CRITICAL, WARNING, Alert
from monitoring.objectives import AVAILABILITY, LATENCY, PAGE, TICKET, UNBLOCK

_CROWDED = (
    "Look at `In flight` on the dashboard and at the CPU of the workers: if all cores are busy, add workers or a node.",
    "Look at `Round trip` on the dashboard OCS ledger: slow fsyncs point to the disk, slow scripts to Redis' core.",
)

ALERTS = (
    Alert(
        name="ServerAway",
        expr='up{job="ocs"} == 0 or absent(up{job="ocs"})',
        lasts="30s",
        severity=CRITICAL,
        dashboard="service",
        summary="The charging server {{ $labels.instance }} does not answer scrapes",
        harm="If the server has ended, nobody is charged on it; clients go to another node, or refuse new sessions.",
        do=(
            "On the machine: is `ocs serve` running, and does `curl http://127.0.0.1:9464/health` answer?",
            "If it ended: read the last lines of its log, then start it. It needs no repair after a crash.",
            "If it runs: look at the network and the address in `config/prometheus/prometheus.yml`. Without an "
            "instance "
            "in the alert, Prometheus has no job named `ocs`.",
        ),
    ),
    Alert(
        name="RedisAway",
        expr="ocs_redis_up == 0",
        lasts="10s",
        severity=CRITICAL,
        dashboard="ledger",
        summary="Redis does not answer {{ $labels.instance }}: every request gets 3002 or 3004, nothing is granted",
        harm="Nobody is charged and nothing new is granted until Redis is back. No money is lost.",
        do=(
            "Ask Redis on its own machine: `redis-cli ping`, `redis-cli info persistence` (a private Redis: "
            "`redis-cli -s "
            "<data_dir>/redis/redis.sock ping`). While it loads its AOF it answers LOADING: wait.",
            "Full disk or memory: free some; `maxmemory-policy` must stay `noeviction`.",
            "If its machine is lost, promote a replica and read [OPERATIONS, Failover](../OPERATIONS.md#failover): "
            "answers "
            "may be missing there.",
        ),
    ),
    Alert(
        name="NoWorker",
        expr="ocs_workers_up == 0",
        lasts="10s",
        severity=CRITICAL,
        dashboard="service",
        summary="No worker is up at {{ $labels.instance }}: nobody is charged there, nobody can connect",
        harm="Peers cannot connect to this server. They use another node, or refuse new sessions.",
        do=(
            "Read the log: a worker that refuses to start says why (settings, catalogue, another node).",
            "`ocs check` finds mistakes of settings and catalogue.",
            "If the catalogue in Redis cannot be used, load a version that can (`ocs catalogue load`).",
        ),
    ),
    Alert(
        name="HousekeeperAway",
        expr='group by (job) (ocs_redis_up) unless group by (job) (ocs_process_up{role="housekeeper"} == 1)',
        lasts="5m",
        severity=CRITICAL,
        dashboard="service",
        summary="No server has a housekeeper that works: no records are written, Redis grows with each movement",
        harm="Charging goes on. Records, history and notices wait; deadlines and renewals of idle accounts are late; "
        "nobody audits the books.",
        do=(
            "`curl http://127.0.0.1:9464/health` on each node: `housekeeper` is true, false, or null where none runs.",
            "False: read its lines in the log. It says why it does not start (another node has it, settings, Redis).",
            "Null on all nodes: the node that had it is away. Start that node.",
            "If it cannot start, set `server.housekeeper = true` on another one and move the folder of records there "
            "([OPERATIONS](../OPERATIONS.md#several-nodes)).",
        ),
    ),
    Alert(
        name="ApiAway",
        expr='ocs_process_up{role="api"} == 0',
        lasts="2m",
        severity=CRITICAL,
        dashboard="service",
        summary="The API of {{ $labels.instance }} does not run",
        harm="Nobody can top up, buy or look up through this node. Charging goes on.",
        do=(
            "Read the lines of `api` in the log: port taken, certificate, settings, Redis.",
            "`ocs check` finds mistakes of settings and catalogue.",
        ),
    ),
    Alert(
        name="ProcessesRestart",
        expr="sum by (job, instance, role) (increase(ocs_process_restarts_total[10m])) > 3",
        severity=WARNING,
        dashboard="service",
        summary="{{ $labels.role }} processes of {{ $labels.instance }} end again and again",
        harm="Each restart of a worker makes its peers connect again; requests under way are repeated by the clients.",
        do=(
            "Read the log before each end: an internal error, or the kernel's out-of-memory killer (`dmesg`).",
            "Report internal errors with their lines. If a release began it, go back to the one before.",
        ),
    ),
    Alert(
        name="AvailabilityBurnsFast",
        expr=AVAILABILITY.burns(PAGE),
        severity=CRITICAL,
        dashboard="service",
        summary="Requests are answered 3002, 3004 or 5012 so often that the budget of 30 days is gone within days",
        harm="Clients of these answers refuse services or use another node. Nothing is charged that is not granted.",
        do=(
            "Are RedisAway, NoWorker or ClocksDiffer firing too? Begin there.",
            "By result on the dashboard: 5012 is a fault of the server, the log has it. 3002 and 3004 are load, Redis, "
            'or a rate limit (`ocs_requests_refused_total{kind=~"rate|overload"}`).',
            *_CROWDED,
        ),
    ),
    Alert(
        name="AvailabilityBurns",
        expr=AVAILABILITY.burns(TICKET),
        severity=WARNING,
        dashboard="service",
        summary="Requests are answered 3002, 3004 or 5012 more often than the objective allows",
        harm="If it goes on, the objective of 30 days is missed.",
        do=(
            "Find the hours in `Bad share: availability`, and what happened then: restarts, new versions, backups.",
            *_CROWDED,
        ),
    ),
    Alert(
        name="LatencyBurnsFast",
        expr=LATENCY.burns(PAGE),
        severity=CRITICAL,
        dashboard="service",
        summary="So many requests take longer than 20 ms that the budget of 30 days is gone within days",
        harm="Subscribers wait at the begin of calls and data. Clients with short timers repeat requests.",
        do=(
            *_CROWDED,
            "Does another program use the machine's cores or disk (backup, AOF rewrite)? Move it to the night.",
        ),
    ),
    Alert(
        name="LatencyBurns",
        expr=LATENCY.burns(TICKET),
        severity=WARNING,
        dashboard="service",
        summary="More requests take longer than 20 ms than the objective allows",
        harm="If it goes on, the objective of 30 days is missed.",
        do=("Compare `p99 by context`: one context alone points to a client or a rate.", *_CROWDED),
    ),
    Alert(
        name="SlowUnblock",
        expr=UNBLOCK.burns((("1h", "5m", 14.4), ("6h", "30m", 6))),
        severity=WARNING,
        dashboard="peers",
        summary="Clients hear late of top-ups: sessions stay blocked longer than they must",
        harm="Subscribers who have paid wait. Validity-Time has the same effect later.",
        do=(
            "`What came of them` on the dashboard: unreachable or unanswered clients delay each other.",
            "Look for clients that never answer RAR, and set `reauthorize = false` in their profile.",
        ),
    ),
    Alert(
        name="CertificateEnds",
        expr="ocs_certificate_expires_timestamp_seconds - time() < 14 * 86400",
        lasts="1h",
        severity=WARNING,
        dashboard="service",
        summary="The certificate of [{{ $labels.table }}] ends within 14 days",
        harm="From its end on, peers refuse new TLS connections, and clients of the API the API.",
        do=(
            "Have a new certificate issued and put it where the settings say. It is reloaded within 10 s.",
            "The log says `TLS certificates reloaded`, or why the files cannot be used.",
        ),
    ),
    Alert(
        name="ApiErrors",
        expr='sum by (job) (increase(ocs_api_requests_total{status="5xx"}[10m])) > 10',
        severity=WARNING,
        dashboard="service",
        summary="The API answers 5xx: is Redis reachable? The log names each internal error with its request id",
        harm="Care, shops and subscribers cannot work with accounts. Charging goes on.",
        do=(
            "Is RedisAway firing? Begin there.",
            "The log has each `internal error` with its request id: report it with its lines.",
        ),
    ),
)
