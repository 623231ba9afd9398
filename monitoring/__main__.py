"""`python -m monitoring`: writes dashboards, rules and runbooks."""

from __future__ import annotations

from monitoring.files import ROOT, generated, superfluous


def main() -> None:
    files = generated()
    for name, text in files.items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    for path in superfluous(files):
        path.unlink()


main()
