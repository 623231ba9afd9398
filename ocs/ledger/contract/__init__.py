"""The ledger's contract: requests, outcomes, views, events, notices, errors, and the operations with what they promise.
`ocs.ledger.redis.ledger.RedisLedger` implements it; `tests/ocs/ledger/model.py` is a model of it in plain Python.

Invariants (docs/ARCHITECTURE.md):

1. paid in = available + held + separate + spent + refunded + expired + in transit;
2. nothing is negative;
3. held = Σ open reservations;
4. a request is applied at most once, and repetitions get the same outcome;
5. Σ records = balance movement;
6. one outcome per request.

Amounts are integers below 2^53: micro-EUR, octets, seconds, messages.
"""
