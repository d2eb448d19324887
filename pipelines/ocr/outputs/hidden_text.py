"""Taking the invisible text of an earlier reading out of a page"""

from collections.abc import Sequence
from typing import Any

from pikepdf import Dictionary, Name, Object, Page, Pdf, Stream, parse_content_stream, unparse_content_stream

INVISIBLE = 3  # text rendering mode
SHOWING = {"Tj", "TJ", "'"}
SHOWING_AND_SETTING = '"'  # also sets spacing: a text object with it is left alone
SETTING = {  # nothing is painted by these, and Q undoes what they set
    *("q", "Q", "cm", "w", "J", "j", "M", "d", "ri", "i", "gs"),
    *("g", "G", "rg", "RG", "k", "K", "cs", "CS", "sc", "SC", "scn", "SCN"),
    *("BT", "ET", "Tc", "Tw", "Tz", "TL", "Tf", "Tr", "Ts", "Td", "TD", "Tm", "T*"),
}

Instruction = Any  # pikepdf's: operands and operator


def remove_hidden_text(pdf: Pdf, page: Page) -> int:
    """Take the invisible text out of `page` and of the forms it draws; give how many strings that were.

    Text objects that show visible text as well stay whole: what follows in them stands where it ends.
    """
    sweep = _Sweep()
    kept, removed = sweep.swept(page, page.obj.get(Name.Resources, Dictionary()))
    if removed:
        page.obj.Contents = pdf.make_stream(unparse_content_stream(kept))
    return removed + sweep.removed_from_forms


class _Sweep:
    """One page's content and its forms, each form once: they may draw each other, and themselves."""

    def __init__(self) -> None:
        self.removed_from_forms = 0
        self._seen: set[tuple[int, int]] = set()

    def swept(self, content: Page | Stream, resources: Object, mode: int = 0) -> tuple[list[Instruction], int]:
        """Give the instructions of `content` without invisible strings, and how many those were.

        mode: of text rendering, when `content` begins
        """
        kept: list[Instruction] = []
        saved: list[tuple[int, int, int]] = []  # mode, place of q, strings removed before
        shown: list[tuple[int, int]] = []  # place among the kept, mode: of the strings in this text object
        removed = 0
        for instruction in parse_content_stream(content):
            operator = str(instruction.operator)
            if operator == "q":
                saved.append((mode, len(kept), removed))
            elif operator == "Q" and saved:
                mode, start, before = saved.pop()
                if removed > before and not shown and _paints_nothing(kept[start:]):
                    del kept[start:]  # or the fonts of the earlier reading would stay, and grow with each
                    continue
            elif operator == "Tr":
                mode = int(instruction.operands[0])
            elif operator == "Do":
                self._sweep_form(resources, str(instruction.operands[0]), mode)
            elif operator in SHOWING or operator == SHOWING_AND_SETTING:
                shown.append((len(kept), -1 if operator == SHOWING_AND_SETTING else mode))
            kept.append(instruction)
            if operator == "ET":
                if all(how == INVISIBLE for _, how in shown):
                    removed += len(shown)
                    _drop(kept, [place for place, _ in shown])
                shown = []
        return kept, removed

    def _sweep_form(self, resources: Object, name: str, mode: int) -> None:
        form = resources.get(Name.XObject, Dictionary()).get(name)
        if not isinstance(form, Stream) or form.get(Name.Subtype) != Name.Form or form.objgen in self._seen:
            return
        self._seen.add(form.objgen)
        kept, removed = self.swept(form, form.get(Name.Resources, resources), mode)
        if removed:
            form.write(unparse_content_stream(kept))
        self.removed_from_forms += removed


def _paints_nothing(group: Sequence[Instruction]) -> bool:
    operators = [str(instruction.operator) for instruction in group]
    return {*operators} <= SETTING and operators.count("BT") == operators.count("ET")


def _drop(kept: list[Instruction], places: Sequence[int]) -> None:
    for place in reversed(places):
        del kept[place]
