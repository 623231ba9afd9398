"""`ocs notice …`: texts that subscribers are sent (HOT-NOT-1)."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Annotated

import typer

from ocs.catalogue.catalogue import Catalogue
from ocs.cli.common import DEFAULT, ConfigOption, JsonOption, WrongCallError, load_all, print_json
from ocs.values.language import LANGUAGES

app = typer.Typer(help="Texts that subscribers are sent: preview, list, send again.", no_args_is_help=True)

LanguageOption = Annotated[str, typer.Option("--lang", help="sl or en; without it, both.")]


@app.callback()
def _notice() -> None:
    """Texts that subscribers are sent."""


def check_texts(versions: Iterable[tuple[str, Catalogue]]) -> int:
    """The number of notices of the last of (file, version). Warns of long texts. CatalogueError lists every mistake."""
    from ocs.notices.check import LONG_SEGMENTS, checked

    versions = list(versions)
    for file, version in versions:
        for each in checked([(file, version)]):
            if each.size.segments > LONG_SEGMENTS:
                size = f"{each.size.segments} SMS long ({each.size.units} characters in {each.size.encoding})"
                print(f"ocs: warning: {file}: notice.{each.notice}.{each.language} is up to {size}", file=sys.stderr)
    return len(versions[-1][1].tables.sections["notice"]) if versions else 0


@app.command()
def preview(
    name: Annotated[str, typer.Argument(help="A notice of the catalogue, such as low-credit.")],
    language: LanguageOption = "",
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Show a text with an example of its event, and its length in SMS."""
    from ocs.notices.check import checked, examples
    from ocs.notices.compiled import Notices
    from ocs.values.sms_text import sms_size

    if language and language not in LANGUAGES:
        raise WrongCallError(f"--lang {language!r}: texts are in {' and '.join(LANGUAGES)}")
    catalogue = load_all(config)[1].in_force()
    checked([("the catalogue", catalogue)])
    notices = Notices(catalogue)
    if name not in notices.by_name:
        raise WrongCallError(f"there is no notice {name!r}; there are {', '.join(sorted(notices.by_name))}")
    values = next(examples(catalogue, name))
    found = [(each, notices.worded(notices.by_name[name], each, values)) for each in LANGUAGES]
    rows: list[dict[str, object]] = []
    for each, text in found:
        if language in ("", each):
            size = sms_size(text)
            rows.append(
                {"language": each, "text": text, "encoding": size.encoding, "units": size.units, "sms": size.segments}
            )
    if json:
        print_json(rows)
        return
    for row in rows:
        print(f"{row['language']}  {row['text']}  ({row['sms']} SMS, {row['units']} characters in {row['encoding']})")
