"""`ocs keyword`: what a subscriber's SMS or USSD text does (HOT-PKG-12)."""

from __future__ import annotations

from typing import Annotated

import typer

from ocs.accounts import inputs
from ocs.cli.common import DEFAULT, Backend, ConfigOption, JsonOption, WrongCallError, print_json, with_backend
from ocs.ledger.redis.installation import OpenMode
from ocs.values.identities import MSISDN_EXAMPLE
from ocs.values.language import LANGUAGES

NUMBERS = ("1918", "1919")
"""Of orders and of questions. Each takes both."""


def keyword(
    text: Annotated[str, typer.Argument(help='What the subscriber writes, such as "SMS 200 DA".')],
    msisdn: Annotated[str, typer.Option(help=f"E.164 digits, such as {MSISDN_EXAMPLE}.")],
    to: Annotated[str, typer.Option(help=f"Number that it is sent to: {' or '.join(NUMBERS)}.")] = NUMBERS[0],
    language: Annotated[
        str, typer.Option(help=f"Of the answer: {' or '.join(LANGUAGES)}; without it, that of the account.")
    ] = "",
    ussd: Annotated[
        bool, typer.Option("--ussd", help="Answer with one USSD page: no diacritics, 182 characters.")
    ] = False,
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Act on a subscriber's text, and print the answer. The message itself is charged by the network's request."""
    number = inputs.msisdn(msisdn)
    if to not in NUMBERS:
        raise WrongCallError(f"--to {to!r}: keywords are sent to {' or '.join(NUMBERS)}")
    if language and language not in LANGUAGES:
        raise WrongCallError(f"--language {language!r}: answers are in {' or '.join(LANGUAGES)}")

    async def work(backend: Backend) -> None:
        handle = backend.keywords.ussd if ussd else backend.keywords.handle
        answer = await handle(number, text, language=language)
        if json:
            print_json({"answer": answer.key, "text": answer.text, "product": answer.product or None})
        else:
            print(answer.text)

    with_backend(config, OpenMode.WRITE, work)
