"""Which colours can be read on which: the contrast of WCAG 2.2, and colours moved until they have enough of it."""

from collections.abc import Sequence

Rgb = tuple[int, int, int]

TEXT_RATIO, MARK_RATIO = 4.5, 3.0  # WCAG 2.2, success criteria 1.4.3 and 1.4.11
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
_STEPS = 100  # from a colour to black or white: finer than the eye tells


def contrast(one: Rgb, other: Rgb) -> float:
    """From 1 for the same colour to 21 for black and white."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def legible(colour: Rgb, backgrounds: Sequence[Rgb], ratio: float) -> Rgb:
    """The colour nearest to this one that has the contrast on each of these backgrounds.

    On backgrounds so different that no colour has it on all of them: black or white, whichever has more.
    """
    for step in range(_STEPS + 1):
        for end in (BLACK, WHITE):
            moved = _between(colour, end, step / _STEPS)
            if _least(moved, backgrounds) >= ratio:
                return moved
    return on(*backgrounds)


def on(*backgrounds: Rgb) -> Rgb:
    """White, or black where only that can be read: on one background one of the two always can."""
    if _least(WHITE, backgrounds) >= TEXT_RATIO:
        return WHITE
    return max((WHITE, BLACK), key=lambda end: _least(end, backgrounds))


def _least(colour: Rgb, backgrounds: Sequence[Rgb]) -> float:
    return min(contrast(colour, background) for background in backgrounds)


def _between(start: Rgb, end: Rgb, share: float) -> Rgb:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(start, end, strict=True))
    return red, green, blue


def _luminance(colour: Rgb) -> float:
    red, green, blue = (_linear(part / 255) for part in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
