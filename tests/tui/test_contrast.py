"""Whatever is on the screen can be read, in every theme that is offered: text has a contrast of 4.5, marks have 3."""

from collections.abc import Awaitable, Callable, Iterator

import pytest
from rich.color import Color, ColorType
from rich.segment import Segment
from rich.style import Style
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from nettop.settings.declared import THEMES
from nettop.tui.app import NettopApp
from nettop.tui.filter_bar import FilterBar
from nettop.view.contrast import BLACK, MARK_RATIO, TEXT_RATIO, WHITE, Rgb, contrast, legible, on
from nettop.view.look import Look
from tests.tui.scene import LOSSES, FakeFeed, busy, play, table, the_app, until

Prepare = Callable[[Pilot[None]], Awaitable[None]]

_MARKS = set("▁▂▃▄▅▆▇█▔│─━╭╮╰╯▊▌▎▐▕▀^ ")
# What terminals of sixteen colours show for them, in their order
_LINUX_CONSOLE = (
    "000000 aa0000 00aa00 aa5500 0000aa aa00aa 00aaaa aaaaaa 555555 ff5555 55ff55 ffff55 5555ff ff55ff 55ffff ffffff"
)
_XTERM = (
    "000000 cd0000 00cd00 cdcd00 0000ee cd00cd 00cdcd e5e5e5 7f7f7f ff0000 00ff00 ffff00 5c5cff ff00ff 00ffff ffffff"
)


def rgb(text: str) -> Rgb:
    red, green, blue = bytes.fromhex(text)
    return red, green, blue


SIXTEEN = [tuple(map(rgb, palette.split())) for palette in (_LINUX_CONSOLE, _XTERM)]


def shown_as(color: Color | None, palette: tuple[Rgb, ...], default: Rgb) -> Rgb:
    if color is None or color.type is ColorType.DEFAULT:
        return default
    if color.type is ColorType.TRUECOLOR:
        assert color.triplet is not None
        return color.triplet.red, color.triplet.green, color.triplet.blue
    assert color.number is not None
    return palette[color.number]


def contrast_of(style: Style, dark: bool) -> float:
    """In the worst of the terminals."""
    found = []
    for palette in SIXTEEN:
        front = shown_as(style.color, palette, palette[7] if dark else BLACK)
        back = shown_as(style.bgcolor, palette, BLACK if dark else WHITE)
        found.append(contrast(front, back))
    return min(found)


def segments(pilot: Pilot[None]) -> Iterator[Segment]:
    """Of the topmost screen. What lies below a dialog is faint on purpose."""
    screen = pilot.app.screen
    dialogs = "#help, #path-prompt, CommandInput, CommandList" if screen.is_modal else "*"
    regions = [widget.region for widget in screen.query(dialogs)]
    for y, strip in enumerate(screen._compositor.render_strips()):
        x = 0
        for segment in strip:
            if segment.text.strip() and any(region.contains(x, y) for region in regions):
                yield segment
            x += segment.cell_length


def too_faint(pilot: Pilot[None]) -> list[str]:
    dark = pilot.app.current_theme.dark
    found = set()
    for segment in segments(pilot):
        style = segment.style or Style()
        least = MARK_RATIO if set(segment.text) <= _MARKS else TEXT_RATIO
        ratio = contrast_of(style, dark)
        if ratio < least or style.dim:  # how faint that makes it, only the terminal knows
            found.add(f"{pilot.app.theme}: {ratio:.2f} of {style}: {segment.text.strip()[:30]!r}")
    return sorted(found)


def too_faint_elsewhere(pilot: Pilot[None]) -> list[str]:
    """Of what a line may say, also if nothing says it now."""
    screens = pilot.app.screen_stack
    found = set()
    for widget in (*screens, *(widget for screen in screens for widget in screen.query("*"))):
        own = type(widget).__module__.startswith("nettop.")
        for name in vars(type(widget)).get("COMPONENT_CLASSES", ()) if own else ():
            style = widget.get_component_rich_style(name)
            least = MARK_RATIO if name.endswith(("--sparkline", "--scrollbar")) else TEXT_RATIO
            if contrast_of(style, pilot.app.current_theme.dark) < least:
                found.add(f"{pilot.app.theme}: {name} {style}")
    return sorted(found)


async def typing(pilot: Pilot[None]) -> None:
    """Something wrong, under what popped up."""
    for failed in (False, True):
        the_app(pilot)._say("This was said.", failed=failed)
    await pilot.press("slash")
    box = pilot.app.screen.query_one(Input)
    box.cursor_blink = False
    box.value = "comm:curl port:http"
    await until(pilot, lambda: the_app(pilot)._main.query_one(FilterBar).has_class("-wrong"))
    await until(pilot, lambda: sum("was said" in segment.text for segment in segments(pilot)) == 2)


async def detail(pilot: Pilot[None]) -> None:
    await pilot.press("3", "j", "enter", "tab")


async def helping(pilot: Pilot[None]) -> None:
    await pilot.press("question_mark")


async def path(pilot: Pilot[None]) -> None:
    await pilot.press("E")


async def palette(pilot: Pilot[None]) -> None:
    await pilot.press("ctrl+p", "s")
    await until(pilot, lambda: pilot.app.screen.query_one(OptionList).option_count > 1)
    pilot.app.screen.query_one(Input).cursor_blink = False


@pytest.mark.parametrize("scene", [typing, detail, helping, path, palette])
def test_all_can_be_read_in_every_theme(scene: Prepare) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await scene(pilot)
        faint = []
        for theme in THEMES:
            pilot.app.theme = theme
            await pilot.pause()
            faint += [*too_faint(pilot), *too_faint_elsewhere(pilot)]
            shown = table(pilot)
            assert shown._style(("ended",)).color != shown._style(("",)).color, (
                theme
            )  # without getting darker, if need be
        assert faint == []

    play(steps, FakeFeed(busy(losses=LOSSES)), (100, 30), chosen="-pid:4")


@pytest.mark.parametrize(
    ("theme", "drawn_in"),
    [("textual-dark", "ansi-dark"), ("gruvbox", "ansi-dark"), ("solarized-light", "ansi-light"), ("ansi-light",) * 2],
)
def test_a_terminal_of_sixteen_colours_gets_a_theme_that_is_made_of_them(
    theme: str, drawn_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "linux")

    async def steps(pilot: Pilot[None]) -> None:
        assert pilot.app.theme == drawn_in
        assert set(pilot.app.available_themes) == {"ansi-dark", "ansi-light"}

    play(steps, FakeFeed(busy()), look=Look(theme=theme))


def test_no_other_theme_is_offered() -> None:
    app = NettopApp(FakeFeed())
    assert set(app.available_themes) == set(THEMES)


# Colours


def test_a_colour_that_can_be_read_stays() -> None:
    assert legible(WHITE, [BLACK], TEXT_RATIO) == WHITE
    assert legible((200, 200, 200), [BLACK, (20, 20, 20)], TEXT_RATIO) == (200, 200, 200)


@pytest.mark.parametrize("background", [BLACK, WHITE, (119, 119, 119), (1, 120, 212), (250, 73, 52)])
@pytest.mark.parametrize("colour", [BLACK, WHITE, (128, 128, 128), (255, 166, 43), (10, 10, 200)])
def test_any_other_moves_until_it_can(colour: Rgb, background: Rgb) -> None:
    assert contrast(legible(colour, [background], TEXT_RATIO), background) >= TEXT_RATIO
    assert contrast(on(background), background) >= TEXT_RATIO


def test_it_moves_no_further_than_it_must() -> None:
    assert contrast(legible((100, 0, 0), [BLACK], TEXT_RATIO), BLACK) < TEXT_RATIO + 0.2
    assert legible((100, 100, 100), [BLACK, WHITE], 5.0) in (BLACK, WHITE)  # nothing can: whatever can best


def test_contrast_is_that_of_wcag() -> None:
    assert contrast(BLACK, WHITE) == contrast(WHITE, BLACK) == pytest.approx(21)
    assert contrast((119, 119, 119), WHITE) == pytest.approx(4.48, abs=0.01)  # the example that everybody knows
