"""Result codes, and the exception that carries everything an error answer needs (RFC 6733 §7, RFC 8506 §9)."""

from __future__ import annotations

from enum import IntEnum


class ResultCode(IntEnum):
    """Names as in RFC 6733 §7.1 and RFC 8506 §9, without the DIAMETER_ prefix."""

    SUCCESS = 2001
    LIMITED_SUCCESS = 2002
    COMMAND_UNSUPPORTED = 3001
    UNABLE_TO_DELIVER = 3002
    REALM_NOT_SERVED = 3003
    TOO_BUSY = 3004
    LOOP_DETECTED = 3005
    REDIRECT_INDICATION = 3006
    APPLICATION_UNSUPPORTED = 3007
    INVALID_HDR_BITS = 3008
    INVALID_AVP_BITS = 3009
    UNKNOWN_PEER = 3010
    ELECTION_LOST = 4003
    END_USER_SERVICE_DENIED = 4010
    CREDIT_CONTROL_NOT_APPLICABLE = 4011
    CREDIT_LIMIT_REACHED = 4012
    AVP_UNSUPPORTED = 5001
    UNKNOWN_SESSION_ID = 5002
    AUTHORIZATION_REJECTED = 5003
    INVALID_AVP_VALUE = 5004
    MISSING_AVP = 5005
    RESOURCES_EXCEEDED = 5006
    CONTRADICTING_AVPS = 5007
    AVP_NOT_ALLOWED = 5008
    AVP_OCCURS_TOO_MANY_TIMES = 5009
    NO_COMMON_APPLICATION = 5010
    UNSUPPORTED_VERSION = 5011
    UNABLE_TO_COMPLY = 5012
    INVALID_AVP_LENGTH = 5014
    INVALID_MESSAGE_LENGTH = 5015
    NO_COMMON_SECURITY = 5017
    USER_UNKNOWN = 5030
    RATING_FAILED = 5031


class DiameterError(Exception):
    """A request that gets an error answer. `message` goes into Error-Message: it must not identify a subscriber.

    `failed_avp`: encoded AVPs inside one Failed-AVP, b"" = none. `protocol_error`: E bit and answer-message grammar
    (RFC 6733 §7.2). `close`: the connection is closed after the answer. `stage`: number of the stage of the receive
    pipeline that found the error, 0 = none.
    """

    def __init__(
        self,
        result_code: int,
        message: str,
        *,
        failed_avp: bytes = b"",
        protocol_error: bool | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(message)
        self.result_code = int(result_code)
        self.message = message
        self.failed_avp = failed_avp
        self.protocol_error = 3000 <= result_code < 4000 if protocol_error is None else protocol_error
        self.close = close
        self.stage = 0
