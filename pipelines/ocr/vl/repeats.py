"""Answers that go round in circles: a model that lost its way says the same until its tokens run out"""

LONGEST_UNIT = 200  # characters of what is repeated
FEWEST_CHARACTERS = 50  # of all repeats: below, it may be meant
FEWEST_REPEATS = 5


def without_repeats(text: str, *, cut: bool = False, table: bool = False) -> str:
    """Give `text` with what is repeated at its end said once; unchanged where nothing is.

    cut:   the answer ran into the token limit, so its last repeat may be a piece, and a row of dots is no leader of a
           table of contents but a circle too.
    table: rows alike are no circle: a form not filled in has many. Unchanged unless cut.
    """
    if table and not cut:
        return text
    for size in range(1, min(LONGEST_UNIT, len(text) // FEWEST_REPEATS) + 1):
        start = _start_of_repeats(text, size)
        length = len(text) - start
        if length < max(FEWEST_CHARACTERS, FEWEST_REPEATS * size):
            continue
        unit = text[start : start + size]
        if cut or any(character.isalnum() for character in unit):
            return text[: start + size].rstrip()
    return text


def _start_of_repeats(text: str, size: int) -> int:
    """Give where the end of `text` begins in which each character is the one `size` before it."""
    start = len(text) - size
    while start > 0 and text[start - 1] == text[start - 1 + size]:
        start -= 1
    return start
