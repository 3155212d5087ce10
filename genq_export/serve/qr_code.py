"""A link as a QR code of text, two modules a letter."""

_BORDER = 2
_LETTERS = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}


def qr_text(link: str) -> str | None:
    """Lines to be shown dark on light; None where the package segno is not installed."""
    try:
        import segno
    except ImportError:
        return None
    rows = [
        [bool(module) for module in row] for row in segno.make(link, error="l", micro=False).matrix_iter(1, _BORDER)
    ]
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return "\n".join("".join(_LETTERS[pair] for pair in zip(top, bottom, strict=True)) for top, bottom in pairs)
