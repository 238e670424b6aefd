"""Figures in the documents: each benchmark owns the lines between its two marks."""

from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"


def put(name, text, document="CHECKING.md"):
    """Replaces what stands between `<!-- name -->` and `<!-- end name -->` in that document."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end {name} -->\n"
    file = DOCS / document
    before, rest = file.read_text().split(begin)
    _, after = rest.split(end)
    file.write_text(before + begin + text.rstrip("\n") + "\n" + end + after)
    print(f"wrote the figures of {name} into {document}")


def markdown(head, rows, left=(0,)):
    """A table; columns in `left` are words, the others figures."""
    rule = "|".join("---" if column in left else "--:" for column in range(len(head)))
    return "\n".join(["| " + " | ".join(head) + " |", f"|{rule}|", *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"
