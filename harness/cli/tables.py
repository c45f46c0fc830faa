"""Tables and sentences in the terminal's width: lines break between words alone, and in a file or a pipe not at all."""

import shutil
import textwrap
from collections.abc import Sequence
from functools import partial

GAP = "  "
# Columns of texts. As the last one they are broken into lines, of at least so many letters.
TEXTS, NARROWEST = ("what it is", "languages", "why"), 30
LEFT = ("verdict", "grader", *TEXTS)

_wrap = partial(textwrap.wrap, break_long_words=False, break_on_hyphens=False)


def terminal_width() -> int:
    """The columns of the terminal, or of $COLUMNS; 0 where output goes to a file or a pipe."""
    return shutil.get_terminal_size((0, 0)).columns


def sentence_lines(text: str, width: int) -> list[str]:
    """A sentence in lines of `width`, 0 is any; the second and later are indented."""
    return _wrap(text, width, subsequent_indent="    ") if width else [text]


def entry_lines(rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Pairs of a name and a text: the names in a column of their own, the texts in lines beside them."""
    from rich.cells import cell_len

    column = max(cell_len(name) for name, _ in rows) + len(GAP)
    lines = []
    for name, text in rows:
        first, *more = _wrap(text, max(width - column, NARROWEST)) if width else [text]
        lines += [name + " " * (column - cell_len(name)) + first, *(" " * column + each for each in more)]
    return lines


def table_lines(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """The lines of a table, numbers to the right; `width` 0 is any.

    Where it is too wide, a last column of texts is broken into lines; if that is not enough, the first columns stand
    above their row.
    """
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(head, *rows, strict=True)]
    above = 0
    while width and above < len(head) - 1 and _least(head[above:], widths[above:], above) > width:
        above += 1
    start, own = GAP if above else "", widths[above:]
    if width:
        own[-1] = min(own[-1], width - len(start) - sum(own[:-1]) - len(GAP) * (len(own) - 1))
    lines = []
    for row in (head, *rows):
        lines += [GAP.join(row[:above])] if above else []
        lines += [(start + line).rstrip() for line in _row_lines(head[above:], row[above:], own)]
        if row is head:
            lines.append("-" * max(sum(own) + len(GAP) * (len(own) - 1), *map(cell_len, lines)))
    return lines


def _least(head: Sequence[str], widths: Sequence[int], above: int) -> int:
    last = min(widths[-1], NARROWEST) if head[-1] in TEXTS else widths[-1]
    return sum(widths[:-1]) + last + len(GAP) * (len(widths) - (0 if above else 1))


def _row_lines(head: Sequence[str], row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """One row: its first line, and what a last column of texts continues with."""
    from rich.cells import cell_len

    *cells, text = row
    first, *more = (_wrap(text, max(widths[-1], 1)) or [""]) if head[-1] in TEXTS else [text]
    spaces = [" " * (width - cell_len(cell)) for width, cell in zip(widths, (*cells, first), strict=True)]
    left = [place == 0 or name in LEFT for place, name in enumerate(head)]
    padded = [
        cell + space if is_left else space + cell
        for cell, space, is_left in zip((*cells, first), spaces, left, strict=True)
    ]
    indent = " " * (sum(widths[:-1]) + len(GAP) * len(cells))
    return [GAP.join(padded), *(indent + line for line in more)]
