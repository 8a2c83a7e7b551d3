"""Plain text tables for the command line."""

from collections.abc import Sequence


def ascii_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Align columns under a ruled header; the first `left` columns to the left, figures right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = (
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "| " + " | ".join(cells) + " |"

    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
    return "\n".join([rule, line(header), rule, *(line(row) for row in rows), rule])
