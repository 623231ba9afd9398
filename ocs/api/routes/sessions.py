"""Sessions of an account: look, ask (RAR), end (ASR); keywords."""

from __future__ import annotations

from ocs.accounts.sessions import SessionAction
from ocs.api.call import Call, TheCall
from ocs.api.models import network as models
from ocs.api.models.common import MsisdnPath
from ocs.api.models.network import KeywordAnswer, KeywordText, Session, SessionOrder, SessionsTold
from ocs.api.operation_route import router as operations
from ocs.values.identities import Msisdn

router = operations("/v1/accounts/{msisdn}", "sessions")


@router.get("/sessions", operation_id="sessions.list")
async def list_sessions(msisdn: MsisdnPath, call: TheCall) -> list[Session]:
    """Open sessions with what they hold. An account has at most 32."""
    view = (await call.backend.accounts.read(msisdn)).view
    return [models.session(each, call) for each in view.live_sessions]


@router.post("/sessions/ask", operation_id="sessions.ask")
async def ask(msisdn: MsisdnPath, body: SessionOrder, call: TheCall) -> SessionsTold:
    """Let the network report use and ask for new quota (RAR)."""
    return await _tell(msisdn, "reauthorize", body, call)


@router.post("/sessions/end", operation_id="sessions.end")
async def end(msisdn: MsisdnPath, body: SessionOrder, call: TheCall) -> SessionsTold:
    """Abort sessions (ASR); their use is still charged. An emergency call is aborted only by its Session-Id."""
    return await _tell(msisdn, "abort", body, call)


async def _tell(msisdn: Msisdn, action: SessionAction, body: SessionOrder, call: Call) -> SessionsTold:
    selection = await call.backend.sessions.select(msisdn, action, body.session_id or "")
    if selection.sessions:
        await call.backend.sessions.announce(action, selection)
    return SessionsTold(sessions=[each.session_id for each in selection.sessions], exempt=selection.exempt)


@router.post("/keywords", operation_id="keywords.handle")
async def keyword(msisdn: MsisdnPath, body: KeywordText, call: TheCall) -> KeywordAnswer:
    """Act on a text of the subscriber, by SMS or USSD, and answer it (HOT-PKG-12, HOT-ACC-12). A text that is repeated
    because its answer was lost does not buy twice. The message itself is charged by the network's request.
    """
    handle = call.backend.keywords.ussd if body.ussd else call.backend.keywords.handle
    answer = await handle(msisdn, body.text, language=body.language or "")
    return KeywordAnswer(answer=answer.key, text=answer.text, product=answer.product or None)
