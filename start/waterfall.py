"""Phases of a start as a picture: one bar a phase, time from left to right, as an SVG document. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from start.start_report import Span

_ROW, _BAR, _LEFT, _WIDTH, _RIGHT, _TOP = 22, 14, 190, 640, 70, 46  # pixels
_SERVER, _MEANWHILE, _INK, _GRID = "#3b6ea5", "#b08948", "#24292f", "#d8dee4"


def svg(spans: Sequence[Span], title: str = "Start of the worker") -> str:
    """`spans`: at least one, in seconds."""
    spans = sorted(spans, key=lambda span: (span[1], span[2]))
    zero = min(start for _, start, *_ in spans)
    total = max(0.001, max(end for _, _, end, _ in spans) - zero)
    height = _TOP + _ROW * len(spans) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + _RIGHT}" height="{height}" '
        f'font-family="sans-serif" font-size="12" fill="{_INK}">',
        f'<rect width="100%" height="100%" fill="white"/><text x="12" y="20" font-size="14" font-weight="bold">'
        f"{_text(title)}: {total:.1f} s</text>"]
    for tick in _ticks(total):
        x = _LEFT + tick / total * _WIDTH
        parts.append(f'<line x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{height - 24}" stroke="{_GRID}"/>'
                     f'<text x="{x:.1f}" y="{height - 10}" text-anchor="middle" font-size="10">{tick:g} s</text>')
    for row, (name, start, end, meanwhile) in enumerate(spans):
        x, y = _LEFT + (start - zero) / total * _WIDTH, _TOP + row * _ROW
        wide = max(1.0, (end - start) / total * _WIDTH)
        parts.append(
            f'<text x="{_LEFT - 8}" y="{y + 11}" text-anchor="end">{_text(name)}</text>'
            f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{_BAR}" '
            f'fill="{_MEANWHILE if meanwhile else _SERVER}">'
            f"<title>{_text(name)}: {start - zero:.2f} to {end - zero:.2f} s</title></rect>"
            f'<text x="{x + wide + 5:.1f}" y="{y + 11}" font-size="10">{end - start:.1f}</text>')
    return "\n".join([*parts, "</svg>"])


def _text(words: str) -> str:
    # Control characters are no XML, escaped or not.
    return escape("".join(c if c.isprintable() else "?" for c in words))


def _ticks(total: float) -> list[float]:
    """About eight round numbers from 0 to `total`."""
    steps = (base * 10.0**power for power in range(-3, 6) for base in (1, 2, 5))
    step = next((step for step in steps if total / step <= 8), total)
    return [round(step * i, 6) for i in range(int(total / step) + 1)]
