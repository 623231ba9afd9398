"""What the answer to a RAR or ASR means for the session (RFC 6733 §8.3.2, §8.5.2)."""

from __future__ import annotations

import logging
from enum import Enum, auto

from ocs.diameter.abort_cause import blames_abort_cause
from ocs.diameter.outstanding import Answered
from ocs.diameter.rar_asr import Sent, code_of, is_permanent
from ocs.telemetry.throttled_log import ThrottledLog
from protocol.errors import ResultCode

log = logging.getLogger(__name__)


class Outcome(Enum):
    """What is to be done after the answer."""

    DONE = auto()
    """The client has accepted the request."""
    UNKNOWN_SESSION = auto()
    """The client does not know the session (5002)."""
    CHANGE_ABORT_CAUSE = auto()
    """The client objects to the Abort-Cause, or to its absence: send the ASR once more, changed."""
    REFUSED = auto()
    """The client would refuse the request again."""
    SEND_RAR = auto()
    """The client does not abort the session: send a RAR instead (RFC 6733 §8.5)."""
    RETRY = auto()
    """No answer, or a transient failure."""


def outcome_of(sent: Sent, answer: Answered | None) -> Outcome:
    """`answer`: None = none came in time, or the connection was lost."""
    if answer is None:
        return Outcome.RETRY
    code = code_of(answer)
    if code == ResultCode.UNKNOWN_SESSION_ID:
        return Outcome.UNKNOWN_SESSION
    if code in (ResultCode.SUCCESS, ResultCode.LIMITED_SUCCESS):
        return Outcome.DONE
    if is_permanent(code):
        changes = sent.abort and not sent.job.objected and blames_abort_cause(answer)
        return Outcome.CHANGE_ABORT_CAUSE if changes else Outcome.REFUSED
    if sent.abort and code == ResultCode.UNABLE_TO_COMPLY:
        return Outcome.SEND_RAR
    return Outcome.RETRY


def log_refusal(throttled_log: ThrottledLog, sent: Sent, answer: Answered) -> None:
    """Log an answer that `outcome_of` calls REFUSED, once a minute per client, command and Result-Code."""
    code = code_of(answer)
    more = throttled_log.allow((sent.client.lower(), sent.command, code))
    if more is not None:
        text = f" ({answer.error_message})" if answer.error_message else ""
        log.warning("client %s refused %s with %d%s; not sent again%s", sent.client, sent.command, code, text, more)
