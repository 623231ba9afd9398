"""Records of the stored documents and of the scripts' arguments and results: named fields, kept as msgpack arrays in
this order. Both sides, Python and Lua, are made from this one declaration.

- The scripts use names (`account.credit`). `scripts.join` replaces a name by its position, makes the constructors
  (`new_bucket()`), and makes the function that brings a document of an older layout up to this one.
- Python reads a document by `Layout.read`. The writers in wire.py pack a request.

Rules of change:

- Add a field at the end of its record, with the layout's new version and a default. A field may be renamed: its name is
  not stored.
- A script leaves fields that it does not know as they are.
- A list that is nearly always empty has the default "" (an empty list costs Lua four times as much); it becomes a list
  with its first element.
- If an older script would misread the change, raise `readable_from` too: older scripts then refuse the document
  (`Retry.VERSION`).
- Keep a document of every version in tests/ocs/ledger/documents. A document of layout 1 had no version; it is refused.

Amounts are micro-EUR (credit, held, debit …) or billable units; times are Unix seconds; flags are 0 or 1.
"""

from __future__ import annotations

from ocs.ledger.records import EMPTY, Field, Layout, fields

_DOCUMENT = {
    "account": (
        *fields("version readable_from"),
        *fields("msisdn imsi state", default=""),
        *fields("active_until told_inactive credit held paid_in spent refunded expired"),
        Field("bars", ""),
        Field("pool", ""),
        # `due`: score in the due set, 0 = not in it. `scarce_until`: until then grants leave room for others, because a
        # request got nothing while others held money.
        *fields("due last_instance scarce_until"),
        # `moved_to`: the account's new id. `moved_from`: its old ids; until `look_back_until` answers may be stored
        # under them.
        Field("moved_to", ""),
        Field("moved_from", ""),
        Field("look_back_until"),
        Field("subscriptions", "", packed="subscription"),
        # Kept from `subscriptions`: earliest end of a running period, when the first is due (0 = never), how many are
        # armed.
        *fields("period_ends subscriptions_due armed"),
        Field("buckets", EMPTY, many="bucket"),
        Field("counters", EMPTY, many="counter"),
        Field("agenda", "", many="entry"),
        Field("sessions", EMPTY, each="session"),
        # Words by which rates differ, with commas: of running subscriptions and of measures in force.
        Field("facts", "", since=3),
        Field("measures", "", packed="measure", since=3),
        # Of the serving network, "" = home; `seen`: "AT 1795000000,": countries, and when each was left.
        *fields("country seen", default="", since=3),
        # `promotional`: part of the credit that is never paid out. `told_expiring`: 1 that the account will be
        # inactive, 2 that it will be terminated.
        *fields("promotional told_expiring", since=3),
        # `blocks`: reasons for which it is blocked, sorted, with commas. `barred_equipment`: of these an event was
        # written, each with a comma. `leaving`: subscriber id that it had before, whose index entry may still be there.
        *fields("blocks barred_equipment leaving", default="", since=3),
        # Kept from `subscriptions`: how many wait for their fee. A document that does not say may have some.
        Field("unpaid", 1, since=3),
        # Automatic top-up (HOT-TOP-4): `auto_below` micro-EUR, 0 = off; `auto_asked`: 1 = it was asked for since the
        # credit was last at the mark.
        *fields("auto_below auto_asked", since=4),
        Field("customer", "", packed_one="customer", since=4),
        # Automatic orders of the last days (HOT-TOP-5); how many failed since the credit was last at the mark.
        Field("auto_debits", "", packed="auto_debit", since=4),
        Field("auto_failures", since=4),
        # Credit that was transferred to others and from others (HOT-GRP-2). `transfers`: what is in transit, part of
        # `sent`. `separate`: credit of the separate account (HOT-GRP-5).
        *fields("sent received separate", since=4),
        Field("transfers", "", packed="transfer", since=4),
        # Buckets and counters that no session names (scripts/idle.lua), and their ids, each between commas.
        Field("idle", "", packed_one="idle", since=4),
        Field("idle_ids", "", since=4),
    ),
    "idle": (Field("buckets", EMPTY, many="bucket", since=4), Field("counters", EMPTY, many="counter", since=4)),
    # An automatic order: its id and time; `failed`: 1 = its failure was counted.
    "auto_debit": (Field("id", "", since=4), *fields("at failed", since=4)),
    # What charging does not need. `language` of the notices; `group`: business group that the number is in; `role` in
    # it: "administrator" or "member"; `puk_salt`, `puk_hash`: of the SIM's PUK1, hexadecimal; `separate`: 1 = it has a
    # separate account; `puk_tries`: wrong entries since the last right one; `wrong_vouchers`: wrong entries that
    # customer care has not forgiven (HOT-TOP-3).
    "customer": (
        *fields("language group", default="", since=4),
        Field("wrong_vouchers", since=4),
        *fields("role puk_salt puk_hash", default="", since=4),
        *fields("separate puk_tries", since=4),
    ),
    # Credit under way to another account. `instance`: unique within the account; `role` that the receiver must have.
    "transfer": (
        *fields("instance amount promotional at", since=4),
        *fields("to reference group role", default="", since=4),
    ),
    "measure": (
        Field("kind", "", since=3),
        Field("name", "", since=3),
        Field("reason", "", since=3),
        *(Field(name, 0, since=3) for name in ("since", "until", "begun")),
    ),
    "terms": (
        Field("id", ""),
        *fields("price period_s"),
        Field("buckets", EMPTY, many="included"),
        Field("group", ""),
        Field("renews", 1),
        Field("excludes", EMPTY),
        Field("counters", EMPTY, many="counter_terms"),
        *fields("shared order"),
        Field("facts", EMPTY, since=3),
        # `counts`: the price counts to the monthly limit. `with_tariff`: a period ends with the tariff's. `notice_s`:
        # an event so long before the end of a period.
        *(Field(name, 0, since=3) for name in ("counts", "with_tariff", "voided_by_change", "notice_s")),
        Field("commitment_days", 0, since=3),
        Field("benefits", EMPTY, many="benefit", since=3),
        # Conditions of each period: tariffs with which there is none, products of which the account must have one, 1 =
        # a tariff must run.
        *fields("barred_with requires", default=EMPTY, since=4),
        Field("running_tariff", since=4),
    ),
    "benefit": (Field("name", "", since=3), Field("amount", 0, since=3)),  # given for a commitment
    "included": (
        Field("id", ""),
        Field("unit", ""),
        Field("quantity"),
        Field("priority"),
        Field("thresholds", "", since=3),  # "80,100"
    ),
    "counter_terms": (
        *fields("id window measure", default=""),
        Field("limit", -1),
        Field("thresholds", ""),
        Field("window_s"),
        Field("at_limit", "", since=3),
    ),
    "subscription": (
        Field("instance"),
        Field("terms", False, one="terms"),
        Field("state", ""),
        *fields("due starts ends"),  # due: when the fee of a planned or unpaid one is due
        Field("following", False, one="terms"),
        Field("reference", ""),
        Field("notice_at", 0, since=3),  # when the end of the period is announced; 0 = it was, or is not
        # `committed_until` 0 = there is no commitment; `committed_to`: product that it was made for.
        *(Field(name, 0, since=3) for name in ("committed_until", "committed_days")),
        Field("committed_to", "", since=3),
        Field("committed_benefits", EMPTY, many="benefit", since=3),
        Field("separate", 0, since=4),  # 1 = the separate account pays (HOT-GRP-5)
    ),
    "bucket": (
        Field("instance"),
        Field("id", ""),
        Field("subscription"),
        Field("unit", ""),
        # `left` -1 = unlimited. `ended`: its period is over; what is left is for sessions that hold it or were granted
        # it.
        *fields("left held starts ends priority ended"),
        Field("owner", ""),  # in a pool: account that has the subscription
        # `thresholds`: "1000 80,100" = the quantity, and percentages of it that have not been notified; `notify_at`:
        # what is left at the next of them.
        Field("notify_at", -2, since=3),
        Field("thresholds", "", since=3),
    ),
    "counter": (
        *fields("id window measure", default=""),
        Field("window_key"),  # month, day, or begin of the period; 0 for a rolling window
        *fields("value held"),
        Field("limit", -1),
        Field("thresholds", ""),
        *fields("told window_s"),
        Field("slots", ""),  # of a rolling window: number of a sixteenth, amount, …
        Field("at_limit", "", since=3),
        Field("lasting", -2, since=3),  # the limit after this window, if the present one is of this window only
    ),
    "entry": (Field("at"), Field("kind", ""), Field("ref", "")),
    "session": (
        *fields("origin_host origin_realm relay owner context", default=""),
        # Numbers applied: `opening`; of updates `highest`, the 64 below it (`mask_low`, `mask_high`), and those far
        # ahead (`apart`). `answers_until`: end of the TTL of its answers.
        *fields("started deadline origin_state opening highest mask_low mask_high"),
        Field("apart", ""),
        # `closing`: number of the termination, -1 = none yet. `refused`: its opening was refused. `given_up`: it holds
        # nothing and is kept for late use.
        Field("closing", -1),
        *fields("refused given_up cost asked_back_at recorded_at answers_until"),
        Field("place", ""),
        Field("services", EMPTY, each="service"),
        Field("tallies", EMPTY, many="tally"),
        Field("charging_id", "", since=4),  # of the P-GW, by the opening
    ),
    "service": (
        Field("detail", ""),
        Field("always"),
        # `reported_until`: time of the last report (of seconds: end of the time reported). `number`: highest update
        # that had the service.
        *fields("granted phase reported_until switch_at spans deadline number"),
        Field("legs", EMPTY, many="leg"),
        Field("bars", "", since=3),  # that forbid it, with commas
    ),
    "leg": (
        Field("rate", "", packed_one="rate"),  # as in the request; unpacked by `rate_of`
        Field("holds", EMPTY, many="hold"),
        Field("held"),
        Field("counter_holds", ""),  # amounts, beside `counters`; "" = all are 0
        Field("granted_by", "", many="hold"),  # its holds when the session was given up
    ),
    "rate": (
        Field("label", ""),
        Field("price", False, one="price"),
        Field("buckets", ""),  # ids in order, each between commas
        Field("counters", EMPTY),  # ids
        Field("price_after", False, one="price"),  # from the service's switch on
        Field("beyond", False, one="price", since=3),  # of credit, when a volume is used up
        Field("volume", 0, since=3),  # one of the counters changes the price at its limit
    ),
    "price": (Field("id", ""), *fields("num den first_step next_step flat"), Field("rounding", "")),
    "hold": (*fields("instance units pooled"),),
    "tally": (
        *fields("key label price detail", default=""),
        # `unpaid`: the last step is not paid. `recorded`: raw units that are in a charging record.
        *fields("used credit_units debit"),
        Field("units", EMPTY),  # bucket id, units, …
        *fields("overrun dropped unpaid recorded"),
        Field("promotional", since=3),  # of `debit`
    ),
    "pool": (
        *fields("version readable_from last_instance"),
        Field("buckets", EMPTY, many="bucket"),
        Field("shares", EMPTY, many="share"),
        # Most units that a member may use of a bucket; account "" = each that has no limit of its own. `usage`: what
        # members have used of a bucket instance since the pool has limits.
        Field("limits", EMPTY, many="pool_limit", since=3),
        Field("usage", EMPTY, many="share", since=3),
        # As in the account; `idle_ends`: earliest end of an idle bucket, 0 = there is none.
        Field("idle", "", packed="bucket", since=4),
        Field("idle_ids", "", since=4),
        Field("idle_ends", since=4),
    ),
    "pool_limit": (Field("account", "", since=3), Field("bucket", "", since=3), Field("units", 0, since=3)),
    "share": (Field("account", ""), *fields("instance units")),
    # A payment order, in "{tag}:y:<uid>": contract/payments.py. `due` 0 = nothing is to be done.
    "order": (
        *fields("id account kind state reference payer provider provider_id reason redirect", default="", since=4),
        *fields("amount at changed due tries owed version collect", since=4),
        *fields("sequence outcome", default="", since=4),
    ),
    "header": fields("version readable_from"),  # how every document begins
}

_MESSAGES = {
    # Of a product in "{tag}:terms": its terms from a time on.
    "dated_terms": (Field("since"), Field("terms", False, one="terms")),
    "request": (
        *fields("identity session_id origin_host origin_realm relay owner context type", default=""),
        *fields("number now month day deadline remember_s origin_state look max_skew_s"),
        # looked_back: old ids of the account whose answers have been fetched
        *fields("place expected_location pool looked_back", default=""),
        # `counters`: terms of those that an account may lack. `services` come beside the request.
        Field("counters", "", packed="counter_terms"),
        Field("services", EMPTY, many="requested_service"),
        Field("retransmitted"),
        Field("end_to_end"),
        Field("content", ""),
        *fields("facts country plmn equipment", default=""),
        Field("life", "", packed_one="life"),
        Field("equipment_id", ""),
        Field("charging_id", ""),
        Field("owners_swept"),
    ),
    "life": fields("active_s expiring_s low_credit promotional_first inactive_s"),
    "requested_service": (
        *fields("key detail unit", default=""),
        *fields("used used_after used_either want minimum always max_rate restrict retry_want switch_at spans maximum"),
        Field("bars", ""),
        Field("legs", EMPTY),  # a packed `rate` each
        Field("slows"),
    ),
    # In the order of ServiceOutcome and ChargeOutcome.
    "service_outcome": (
        Field("key", ""),
        Field("code", 2001),
        *fields("granted"),
        Field("final", False),
        Field("reason", ""),
        *fields("debited_micro_eur debited_units overrun_units dropped"),
        Field("restricted", False),
        Field("span_switch", False),
    ),
    "outcome": (
        Field("code"),
        Field("duplicate", False),
        Field("services", EMPTY, many="service_outcome"),
        *fields("credit_micro_eur held_micro_eur"),
        Field("reason", ""),
        *fields("session_cost_micro_eur period_end"),
        Field("late", False),
        Field("place", ""),
        Field("at"),
        Field("reused", False),
    ),
}

LAYOUT = Layout(version=4, readable_from=4, records={**_DOCUMENT, **_MESSAGES})

VARIABLES = {
    **{record: record for record in LAYOUT.records},
    "other": "session",
    "next_leg": "leg",
    "requested": "requested_service",
    "requested_rate": "rate",
    "result": "service_outcome",
    "next_price": "price",
    "next_tally": "tally",
    "next_counter": "counter",
    "next_entry": "entry",
    "next_measure": "measure",
    "next_bucket": "bucket",
    "other_service": "service",
    "following": "terms",
    "in_force": "terms",
    "product": "terms",
    "ended": "subscription",
    "ended_terms": "terms",
    "tariff": "subscription",
    "dated": "dated_terms",
    "debit": "auto_debit",
    "other_order": "order",
}
"""Variable of the scripts → its record: `bucket.left` becomes a position. A table that is no record must have another
name (`scripts.PLAIN`).
"""
