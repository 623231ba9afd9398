"""Service-Context-Id in 3GPP's form and in forms of vendors and operators: each form with each setting, general and by
peer.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocs.values import service_context as module
from ocs.values.service_context import DOCUMENTS, MAX_TEXT, STANDARD_CONTEXTS, ServiceContexts, context_of
from ocs.values.use import Context

D, I, C, S, M = Context.DATA, Context.IMS, Context.CS, Context.SMS, Context.MMS  # noqa: E741
BEFORE = ("", "8.", "14.", "001.8.", "001.01.8.", "ext.01.001.8.", "a-b_c.d.01.001.8.", ".", "..")
AROUND = ("{}", " {} ", "\t{}\n")
FORMS = [
    (around.format(f"{before}{document}@{domain}"), context)
    for document, context in DOCUMENTS.items()
    for before in BEFORE
    for domain in ("3gpp.org", "3GPP.ORG")
    for around in AROUND
]
OF_NO_FORM = [
    "",
    "@",
    "@@",
    "@3gpp.org",
    "32251",
    "32251@",
    "3gpp.org",
    "32251 3gpp.org",
    "32251@x.32274@3gpp.org",
    "32251@3gpp.org@3gpp.org",
    "32274@32251@3gpp.org",
    "x@32251@3gpp.org",
    "32251@3gpp.org@example.org",
    "32251@example.org",
    "32251@3gpp.org.example.org",
    "32251@x3gpp.org",
    "132251@3gpp.org",
    "32251.@3gpp.org",
    "32251.8@3gpp.org",
    "32251 @3gpp.org",
    "32299@3gpp.org",
    "32254@3gpp.org",
    "32271@3gpp.org",
    "٣٢٢٥١@3gpp.org",
]
MAKERS = [
    "gprs@cmcc.com",
    "ocs@iqonline.com",
    "icd3@nokia.com",
    "Moscow@huawei.com",
    "voice@mobistar.be",
    "6.32251@mobistar.be",
    "Comverse.DCI",
]
GENERAL = {"gprs@cmcc.com": D, "*@huawei.com": D, "*@mobistar.be": I, "Comverse.DCI": C}
PGW = {"*32251@mobistar.be": D, "ocs@iqonline.com": D, "icd3@nokia.com": D}
SMSC = {"*": S, "Moscow@huawei.com": M}
PEERS: dict[str, tuple[dict[str, Context], list[Context | None]]] = {
    # One per entry of MAKERS.
    "one without a list": ({}, [D, None, None, D, I, I, C]),
    "a P-GW": (PGW, [D, D, D, D, I, D, C]),
    "one whose all is SMS": (SMSC, [D, S, S, M, S, S, C]),
}


@pytest.mark.parametrize(("text", "context"), FORMS)
def test_the_form_of_3gpp(text: str, context: Context) -> None:
    assert context_of(text) is context
    for listed in ({}, GENERAL, PGW, SMSC):
        assert ServiceContexts(listed)[text] is context, "no pattern takes a context of 3GPP's"


@pytest.mark.parametrize("text", OF_NO_FORM)
def test_other_texts_are_no_context(text: str) -> None:
    assert context_of(text) is None
    assert STANDARD_CONTEXTS[text] is None
    assert ServiceContexts({"*": M})[text] is M


@pytest.mark.parametrize("peer", PEERS)
def test_each_vendors_context_for_each_peer(peer: str) -> None:
    listed, wanted = PEERS[peer]
    contexts = ServiceContexts(listed, ServiceContexts(GENERAL))
    for _ in range(2):  # looked up, then cached
        assert [contexts[text] for text in MAKERS] == wanted
        assert [contexts[f" {text.upper()}"] for text in MAKERS] == wanted, "neither case nor blanks around count"
    assert [STANDARD_CONTEXTS[text] for text in MAKERS] == [None] * len(MAKERS), "without a setting none is charged by"
    assert [ServiceContexts(GENERAL)[text] for text in MAKERS] == PEERS["one without a list"][1]


def test_a_listed_text_has_priority_over_the_form_of_3gpp() -> None:
    contexts = ServiceContexts({"32274@3gpp.org": M}, ServiceContexts({"32274@3gpp.org": D, "8.32274@3gpp.org": I}))
    assert (contexts["32274@3gpp.org"], contexts["8.32274@3gpp.org"], contexts["9.32274@3gpp.org"]) == (M, I, S)


PATTERNS = {
    "*": ("", "a", "a@b", "x\ny"),
    "*@b": ("@b", "a@b", "a@a@b"),
    "a@*": ("a@", "a@b"),
    "a*b*c": ("abc", "axbxc", "abbcc", "abcbc"),
    "*.dci": ("comverse.DCI", ".dci"),
    "a.c*": ("a.c", "a.c+"),
    "**": ("", "ab"),
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns(pattern: str) -> None:
    contexts = ServiceContexts({pattern: D})
    assert [contexts[text] for text in PATTERNS[pattern]] == [D] * len(PATTERNS[pattern])


@pytest.mark.parametrize(
    ("pattern", "text"),
    [("*@b", "a@bc"), ("a@*", "ba@"), ("a*b*c", "acb"), ("aba*", "ab"), ("ab*ba", "aba"), ("a.c*", "abc"),
     ("[ab]*", "a")],
)  # fmt: skip
def test_patterns_that_do_not_fit(pattern: str, text: str) -> None:
    assert ServiceContexts({pattern: D})[text] is None


@given(st.text("ab.*", max_size=6).filter(lambda text: "*" in text), st.text("ab.", max_size=8))
def test_a_star_matches_any_text_between_its_parts(pattern: str, text: str) -> None:
    def fits(pattern: str, text: str) -> bool:
        if not pattern or not text:
            return not text and not pattern.strip("*")
        if pattern[0] == "*":
            return fits(pattern[1:], text) or fits(pattern, text[1:])
        return pattern[0] == text[0] and fits(pattern[1:], text[1:])

    assert (ServiceContexts({pattern: D})[text] is D) == fits(pattern, text)


def test_the_cache_of_contexts_is_bounded() -> None:
    contexts = ServiceContexts({"*@b": D})
    for n in range(4 * module._MAX_KEPT):
        assert contexts[f"{n}@b"] is D
        assert contexts[f"{n}.32251@3gpp.org"] is D
    assert len(contexts) <= module._MAX_KEPT
    long = "x" * MAX_TEXT + "@b"
    assert contexts[long] is None and long not in contexts


def test_matching_time_is_bounded_for_any_text() -> None:
    contexts = ServiceContexts({"*a*a*a*a*a*a*a*b": D})
    assert contexts["a" * MAX_TEXT] is None, "seconds, with a pattern that tries every split"
