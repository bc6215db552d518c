"""Numbers of things in words: one row, but two rows."""


def counted(count: int, one: str, several: str | None = None) -> str:
    """So many of what is called `one`; `several` of them, or `one` with an s.

    >>> counted(1, "dimension"), counted(0, "dimension"), counted(2, "class", "classes")
    ('1 dimension', '0 dimensions', '2 classes')
    """
    return f"{count} {one if count == 1 else several or f'{one}s'}"
