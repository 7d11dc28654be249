"""The colours of a theme, made legible: Textual's variables with enough contrast, and a few of nettop's own.

Most of Textual's themes have text that fades into its background somewhere. What they are short of is mended here, so
that the style sheet, and Textual's own widgets, may use any variable on any of the backgrounds.
"""

from collections.abc import Mapping

from textual.color import Color
from textual.theme import Theme

from nettop.view.contrast import MARK_RATIO, TEXT_RATIO, Rgb, legible, on

SIXTEEN_COLOURS = ("ansi-dark", "ansi-light")  # the themes that use a terminal's own

_MARGIN = 0.1  # Textual rounds when it lays one colour over another
_TEXT, _MARK = TEXT_RATIO + _MARGIN, MARK_RATIO + _MARGIN
_CLEAR = 7.0  # of ordinary text, so that what is muted to 4.5 still looks muted beside it

# What text stands on. Each is laid over the background, because some themes make them transparent.
_BACKGROUNDS = ("background", "surface", "panel", "boost", "panel-lighten-1", "panel-darken-1", "surface-lighten-2")
_ON_BACKGROUNDS = ("text-primary", "text-secondary", "text-warning", "text-error", "text-success", "text-accent")

# Sixteen colours are the terminal's own, and no two terminals have the same ones. These can be read with those of the
# Linux console and those of xterm: dark blue and grey cannot on black, nor yellow, cyan and green on white.
_SIXTEEN_DARK = {
    "foreground-muted": "ansi_cyan", "text-muted": "ansi_cyan", "text-disabled": "ansi_cyan",
    "text-error": "ansi_bright_red", "text-warning": "ansi_bright_yellow", "text-success": "ansi_bright_green",
    "text-accent": "ansi_bright_cyan", "text-primary": "ansi_bright_cyan", "text-secondary": "ansi_bright_cyan",
    "accent": "ansi_green", "footer-key-foreground": "ansi_bright_cyan", "border": "ansi_cyan",
    "border-blurred": "ansi_cyan", "scrollbar": "ansi_cyan", "scrollbar-hover": "ansi_cyan",
}  # fmt: skip
_SIXTEEN_LIGHT = {
    "foreground-muted": "ansi_blue", "text-muted": "ansi_blue", "text-disabled": "ansi_blue",
    "text-error": "ansi_red", "text-warning": "ansi_magenta", "text-success": "ansi_blue",
    "text-accent": "ansi_blue", "text-primary": "ansi_blue", "text-secondary": "ansi_blue",
    "accent": "ansi_blue", "footer-key-foreground": "ansi_blue", "border": "ansi_blue", "border-blurred": "ansi_blue",
    "scrollbar": "ansi_blue", "scrollbar-hover": "ansi_blue",
}  # fmt: skip
_SIXTEEN_BLOCKS = {
    "primary": "ansi_blue", "on-primary": "ansi_bright_white",
    "success": "ansi_green", "on-success": "ansi_black",
    "warning": "ansi_cyan", "on-warning": "ansi_black",
    "error": "ansi_red", "on-error": "ansi_bright_white",
    "block-cursor-background": "ansi_blue", "block-cursor-foreground": "ansi_bright_white",
    "input-selection-background": "ansi_cyan", "input-selection-foreground": "ansi_black",
    "row": "ansi_default",
}  # fmt: skip


def legible_variables(theme: Theme, variables: Mapping[str, str]) -> dict[str, str]:
    """The variables of a theme, changed where they cannot be read, with `on-primary` and the like for `primary`."""
    if theme.ansi:
        sixteen = _SIXTEEN_DARK if theme.dark else _SIXTEEN_LIGHT
        return {**variables, **sixteen, **_SIXTEEN_BLOCKS, "over": sixteen["foreground-muted"]}
    background = Color.parse(variables["background"])

    def solid(name: str) -> Rgb:
        return (background + Color.parse(variables[name])).rgb

    backgrounds = [solid(name) for name in _BACKGROUNDS]
    footer = solid("footer-background")
    made = {
        "foreground": legible(solid("foreground"), backgrounds, _TEXT),
        "foreground-muted": legible(solid("foreground-muted"), backgrounds, _TEXT),
        "accent": legible(solid("accent"), backgrounds, _MARK),
        "border": legible(solid("border"), backgrounds, _MARK),
        "border-blurred": legible(solid("border-blurred"), backgrounds, _MARK),
        "scrollbar": legible(solid("scrollbar"), [solid("scrollbar-background")], _MARK),
        "scrollbar-hover": legible(solid("scrollbar-hover"), [solid("scrollbar-background-hover")], _MARK),
        "scrollbar-active": legible(solid("scrollbar-active"), [solid("scrollbar-background-active")], _MARK),
        "row": legible(solid("foreground"), [background.rgb], _CLEAR),
        "over": legible(solid("foreground-muted"), [background.rgb], _TEXT),
        "footer-background": footer,
        "footer-key-foreground": legible(solid("footer-key-foreground"), [footer], _TEXT),
        "footer-description-foreground": legible(solid("footer-description-foreground"), [footer], _TEXT),
    }
    made["text-muted"] = made["text-disabled"] = made["foreground-muted"]
    made |= {name: legible(solid(name), backgrounds, _TEXT) for name in _ON_BACKGROUNDS}
    made |= {f"on-{name}": on(solid(name)) for name in ("primary", "success", "warning", "error")}
    for name in ("block-cursor", "input-selection"):
        made |= {f"{name}-background": solid("primary"), f"{name}-foreground": made["on-primary"]}
    # what Textual would take for text on any field is 87 % of black or white
    return {**variables, "text": "auto 100%", **{name: Color(*colour).hex for name, colour in made.items()}}
