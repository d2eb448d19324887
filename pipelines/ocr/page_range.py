"""Which pages of a document "1-3,7,10-" means"""

import re

RANGE = re.compile(r"(\d*)(?:\s*(-)\s*(\d*))?")


def parse_pages(text: str, count: int) -> tuple[int, ...]:
    """Give the page indices, from 0 and ascending, that `text` names in a document of `count` pages.

    text: numbers from 1 and ranges, as "1-3,7,10-" or "-2"; "" names all. Pages past the end are left out.
    Raises ValueError where it cannot be understood.
    """
    chosen: set[int] = set()
    for piece in text.split(",") if text.strip() else ["1-"]:
        match = RANGE.fullmatch(piece.strip())
        first, dash, last = match.groups() if match else ("", "", "")
        if not first and not last:
            raise ValueError(f'pages: expected numbers and ranges as "1-3,7,10-", got "{piece.strip()}"')
        start = int(first or 1)
        stop = int(last or count) if dash else start
        if start < 1 or (last and stop < start):
            raise ValueError(f'pages: "{piece.strip()}" names no page; pages count from 1 upwards')
        chosen.update(range(start - 1, min(stop, count)))
    return tuple(sorted(chosen))
