"""The alerts by subject."""

from monitoring.alerts import backoffice, ledger, peers, service
from monitoring.alerts.alert import Alert

GROUPS: dict[str, tuple[Alert, ...]] = {
    "service": service.ALERTS,
    "ledger": ledger.ALERTS,
    "peers": peers.ALERTS,
    "backoffice": backoffice.ALERTS,
}
ALERTS = tuple(alert for alerts in GROUPS.values() for alert in alerts)
