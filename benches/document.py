"""Figures in docs/CHECKING.md: each benchmark owns the lines between its two marks."""

from pathlib import Path

DOCUMENT = Path(__file__).resolve().parent.parent / "docs/CHECKING.md"


def put(name, text):
    """Replaces what stands between `<!-- name -->` and `<!-- end name -->`."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end {name} -->\n"
    document = DOCUMENT.read_text()
    before, rest = document.split(begin)
    _, after = rest.split(end)
    DOCUMENT.write_text(before + begin + text.rstrip("\n") + "\n" + end + after)
    print(f"wrote the figures of {name} into {DOCUMENT.name}")


def markdown(head, rows, left=(0,)):
    """A table; columns in `left` are words, the others figures."""
    rule = "|".join("---" if column in left else "--:" for column in range(len(head)))
    return "\n".join(["| " + " | ".join(head) + " |", f"|{rule}|", *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"
