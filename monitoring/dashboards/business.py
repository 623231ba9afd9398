"""Business: revenue, top-ups, products, limits, vouchers, payments, reconciliation."""

from __future__ import annotations

from monitoring.panels import Page, Row, Series, graph, number, quantiles

_TOP_UPS = 'kind="topup"'

_TODAY = Row(
    "The last day",
    [
        number(
            "Revenue",
            "Price of recorded use and fees of products, of the last 24 hours.",
            "currencyEUR",
            "sum(increase(ocs_charged_eur_total[1d])) + (sum(increase(ocs_product_fees_eur_total[1d])) or vector(0))",
            decimals=2,
        ),
        number(
            "ARPU",
            "Revenue of the last 24 hours by account.",
            "currencyEUR",
            "(sum(increase(ocs_charged_eur_total[1d])) + (sum(increase(ocs_product_fees_eur_total[1d])) or vector(0)))"
            " / (sum(ocs_accounts) > 0)",
            decimals=4,
        ),
        number(
            "Topped up",
            "Credit from top-ups of the last 24 hours.",
            "currencyEUR",
            f"sum(increase(ocs_recorded_credit_eur_total{{{_TOP_UPS}}}[1d]))",
            decimals=2,
        ),
        number(
            "Products paid",
            "Paid periods of packages and packs, of the last 24 hours.",
            "none",
            "sum(increase(ocs_products_paid_total[1d]))",
            decimals=0,
        ),
        number(
            "Blocked at zero",
            "Services of the last hour that got nothing for lack of credit.",
            "none",
            'sum(increase(ocs_blocked_total{reason="credit"}[1h]))',
            decimals=0,
        ),
        number(
            "Time to unblock",
            "p99 of the last hour, from an accepted top-up to the RAR on the wire.",
            "s",
            "histogram_quantile(0.99, sum by (le) (rate(ocs_time_to_unblock_seconds_bucket[1h])))",
            bad_above=0.5,
        ),
    ],
)

_REVENUE = Row(
    "Revenue",
    [
        graph(
            "By service",
            "Money taken from credit for use, in EUR an hour.",
            "currencyEUR",
            Series("sum by (service) (rate(ocs_debited_eur_total[R])) * 3600", "{{service}}"),
            stacked=True,
        ),
        graph(
            "By rate",
            "Price of recorded use by rate, in EUR an hour. A rate's name has service, place and destination.",
            "currencyEUR",
            Series("sum by (rate) (rate(ocs_charged_eur_total[R])) * 3600", "{{rate}}"),
            stacked=True,
        ),
        graph(
            "By product",
            "Fees paid for packages and packs in the last hour.",
            "currencyEUR",
            Series("sum by (product) (increase(ocs_product_fees_eur_total[1h]))", "{{product}}"),
            stacked=True,
        ),
        graph(
            "Credit in",
            "Money into credit in the last hour, by kind of record: opened, topup, refund, …",
            "currencyEUR",
            Series("sum by (kind) (increase(ocs_recorded_credit_eur_total[1h]))", "{{kind}}"),
            stacked=True,
        ),
        graph(
            "Credit out",
            "Money out of credit in the last hour, by kind of record.",
            "currencyEUR",
            Series("sum by (kind) (increase(ocs_recorded_debit_eur_total[1h]))", "{{kind}}"),
            stacked=True,
        ),
        graph(
            "From included units",
            "Units taken from included quantities: used and not paid by credit.",
            "short",
            Series("sum by (service, unit) (rate(ocs_debited_bucket_units_total[R]))", "{{service}} {{unit}}"),
        ),
        graph(
            "Refunds",
            "Money given back by refunds, in EUR an hour.",
            "currencyEUR",
            Series("sum by (service) (rate(ocs_refunded_eur_total[R])) * 3600", "{{service}}"),
        ),
    ],
)

_SUBSCRIBERS = Row(
    "Subscribers",
    [
        graph(
            "Products",
            "Paid periods of packages and packs in the last hour.",
            "none",
            Series("sum by (product) (increase(ocs_products_paid_total[1h]))", "{{product}}"),
        ),
        graph(
            "Granted nothing",
            "Services that were granted nothing, by reason: no credit, a limit or cap, a bar, …",
            "cps",
            Series("sum by (reason) (rate(ocs_blocked_total[R]))", "{{reason}}"),
        ),
        graph(
            "Vouchers",
            "Voucher numbers entered over the API, by what came of them. Many wrong ones: somebody may be guessing.",
            "cps",
            Series("sum by (result) (rate(ocs_voucher_entries_total[R]))", "{{result}}"),
        ),
        graph(
            "Fair use in the EU",
            "Accounts that are observed, warned or surcharged, and those that were not evaluated in time.",
            "none",
            Series("max by (state) (ocs_fair_use_accounts)", "{{state}}"),
            Series("max(ocs_fair_use_overdue_accounts)", "overdue"),
            Series("sum by (action) (increase(ocs_fair_use_steps_total[1d]))", "{{action}} in a day"),
        ),
        graph(
            "Ported numbers",
            "Numbers of the file in use, and the days since it was changed.",
            "short",
            Series("max(ocs_ported_numbers)", "numbers"),
            Series("(time() - max(ocs_ported_numbers_timestamp_seconds > 0)) / 86400", "days since the file"),
            Series("max(ocs_ported_numbers_refused)", "refused"),
        ),
    ],
)

_PARTNERS = Row(
    "Payments and reconciliation",
    [
        number(
            "Oldest payment due",
            "For how long a step of an order has been due. Over an hour is an alert.",
            "s",
            "max(ocs_payment_oldest_due_seconds)",
            bad_above=3600,
        ),
        number(
            "Refunds due",
            "Payments of the last day whose account has ended: to be paid back by hand.",
            "none",
            'sum(increase(ocs_payment_orders_total{state="refund-due"}[1d]))',
            bad_above=1,
            decimals=0,
        ),
        number(
            "Reconciled",
            "When ocs reconcile last ended; empty if never.",
            "dateTimeFromNow",
            "(max(ocs_reconciliation_timestamp_seconds) > 0) * 1000",
        ),
        number(
            "Lines not read",
            "Lines of the host's file that the last ocs reconcile could not read.",
            "none",
            "max(ocs_reconciliation_bad_lines)",
            bad_above=1,
        ),
        graph(
            "Payment orders",
            "Orders by kind and the state that they came into.",
            "cps",
            Series("sum by (kind, state) (rate(ocs_payment_orders_total[R]))", "{{kind}} {{state}}"),
        ),
        graph(
            "Payments due",
            "Orders and accounts for which a step is due, for how long the oldest, and answers that are not certain.",
            "short",
            Series("max(ocs_payment_due)", "due"),
            Series("max(ocs_payment_oldest_due_seconds)", "oldest, s"),
            Series("sum(increase(ocs_payment_uncertain_total[15m]))", "uncertain in 15 min"),
        ),
        graph(
            "Payment provider",
            "95th percentile of a request to the provider, by operation.",
            "s",
            *quantiles("ocs_payment_provider_seconds", by="operation", percents=("95",)),
        ),
        graph(
            "Reconciliation with the host: sessions",
            "Sessions of the last ocs reconcile by outcome, and lines that it could not read.",
            "none",
            Series("max by (outcome) (ocs_reconciliation_sessions)", "{{outcome}}"),
            Series("max(ocs_reconciliation_bad_lines)", "bad lines"),
        ),
        graph(
            "Reconciliation with the host: money",
            "What the last ocs reconcile disputes.",
            "currencyEUR",
            Series("max by (outcome) (ocs_reconciliation_stake_eur)", "{{outcome}}"),
            least=None,
        ),
    ],
)

PAGE = Page(
    "business",
    "OCS business",
    "Revenue by service, rate and product; top-ups, limits, vouchers, payments, reconciliation.",
    [_TODAY, _REVENUE, _SUBSCRIBERS, _PARTNERS],
    since="now-24h",
)
