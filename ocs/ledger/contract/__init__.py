"""The ledger's contract: what it is asked, what it answers, what it promises. `ocs.ledger.redis.ledger.RedisLedger`
holds it; the tests have a model of it in plain Python (`tests/ocs/ledger/model.py`).

Promises (docs/ARCHITECTURE.md, invariants):

1. paid in = available + held + spent + refunded + expired;
2. nothing is negative;
3. held = Σ open reservations;
4. a request key is applied at most once, and repetitions get the same outcome;
5. Σ records = balance movement;
6. one outcome per request.

Amounts are integers below 2^53: micro-EUR, octets, seconds, messages.
"""
