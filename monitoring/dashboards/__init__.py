"""The dashboards, one file each."""

from monitoring.dashboards import business, ledger, load_test, notices_history, peers, service

PAGES = (service.PAGE, peers.PAGE, ledger.PAGE, business.PAGE, notices_history.PAGE, load_test.PAGE)
