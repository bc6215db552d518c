"""Tables in Markdown."""

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table.

    Example:
        >>> table(["", "ms"], [["ours", "2"], ["theirs", "3"]])
        ['| | ms |', '|---|---|', '| ours | 2 |', '| theirs | 3 |']
    """
    return [
        "".join(f"| {cell} " if cell else "| " for cell in header) + "|",
        "|---" * len(header) + "|",
        *("| " + " | ".join(cells) + " |" for cells in rows),
    ]
