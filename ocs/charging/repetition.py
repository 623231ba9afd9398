"""A repeated request is answered as the first was: rated at the time and location that the ledger stored with it."""

from __future__ import annotations

from ocs.charging.job import Job
from ocs.charging.prepare import prepare
from ocs.charging.prepared import Prepared, Rater, Terms
from ocs.charging.session_cache import SessionCache
from ocs.charging.usage_context import UsageContext, usage_context_of
from ocs.ledger.contract.charging import ChargeOutcome


def prepared_as_first(job: Job, outcome: ChargeOutcome, sessions: SessionCache, rater: Rater) -> Prepared:
    """`job.prepared` as it was when the first request came. `outcome`: what the ledger stored for that one."""
    request, terms = job.prepared.request, job.prepared.terms
    if outcome.at == terms.now and not outcome.place:
        return job.prepared
    terms = Terms(outcome.at, terms.profile, terms.policy)
    if outcome.place:
        where = usage_context_of(job.context, request, terms.profile)
        where.completed(UsageContext.decode(job.context, outcome.place))
        where.at = terms.now
    else:
        where, _ = sessions.usage_context(job.context, request, job.session, terms)
    where.facts = job.where.facts
    return prepare(request, where, rater, terms)
