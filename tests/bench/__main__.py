"""`make bench`: how fast and light nettop is, beside what a user would run instead. Needs root.

Runs in a mount namespace of its own, so that what it mounts vanishes with it; traffic stays in network namespaces of
its own.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from nettop.kernel.compiled_cache import DIRECTORY as COMPILED
from tests.bench import completeness, cpu, groups, growth, machine, memory, powers, screen, slowdown, start
from tests.bench.report import Findings, Target, markdown, targets_table
from tests.bench.settings import Settings
from tests.live.lab import NETTOP

Case = Callable[[Settings, Findings], None]
CASES: dict[str, Case] = {
    "start": start.run,
    "memory": memory.run,
    "slowdown": slowdown.run,
    "completeness": completeness.run,
    "cpu": cpu.run,
    "growth": growth.run,
    "screen": screen.run,
    "groups": groups.run,
    "powers": powers.run,
}
DEFAULT_OUT = Path("build/bench")


def tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all of them if none is given")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter measurements")
    parser.add_argument("--out", type=Path, help=f"where the raw rows go (default a new file in {DEFAULT_OUT})")
    parser.add_argument("--beside", type=Path, metavar="NETTOP", help="start: another nettop's executable, in turn")
    options = parser.parse_args()
    unknown = [name for name in options.cases if name not in CASES]
    if unknown:
        parser.error(f"there is no case {unknown[0]}; choose from {', '.join(CASES)}")
    if not machine.in_own_mount_namespace():
        parser.error("it mounts: run it through 'make bench' or 'unshare --mount'")
    return options


def command(options: argparse.Namespace) -> str:
    cases = f'CASES="{" ".join(options.cases)}"' if options.cases else ""
    return " ".join(filter(None, ["make bench", cases, "QUICK=1" if options.quick else ""]))


def interrupted(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def own_cache() -> bool:
    """An empty cache of compiled programs for this run alone; whether its directory had to be made."""
    made = not COMPILED.exists()
    COMPILED.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", COMPILED], check=True)
    return made


def measure(options: argparse.Namespace, out: Path, directory: Path) -> int:
    machine.mount_for_peers(directory)
    nettops = {"nettop": NETTOP[0]}
    if options.beside:
        nettops["nettop (other)"] = str(options.beside)
    settings = Settings(directory, options.quick, nettops)
    head = machine.description()
    tell("\n".join([*head, f"Command: {command(options)}", ""]))
    targets, passed = run_cases({name: CASES[name] for name in options.cases or CASES}, settings, out, head)
    tell(markdown(targets_table(targets)))
    tell(f"Raw rows: {out}")
    return 0 if passed else 1


def run_cases(
    cases: dict[str, Case], settings: Settings, out: Path, head: Sequence[str] = ()
) -> tuple[list[Target], bool]:
    """All targets, and whether no case failed. `out` gets each measurement when it is made, of failed cases too."""
    targets: list[Target] = []
    raw: dict[str, list[dict[str, Any]]] = {}
    passed = True
    for name, case in cases.items():
        sys.stderr.write(f"bench: {name}\n")
        begun = time.monotonic()

        def keep(rows: list[dict[str, Any]], name: str = name) -> None:
            raw[name] = rows
            written_whole(out, {"machine": head, "quick": settings.quick, "cases": raw})

        findings = Findings(keep)
        try:
            case(settings, findings)
        except Exception:  # noqa: BLE001 - the other cases take as long
            traceback.print_exc()
            passed = False
        for table in findings.tables:
            tell(markdown(table))
        targets += findings.targets
        sys.stderr.write(f"bench: {name} took {time.monotonic() - begun:.0f} s\n")
    return targets, passed


def written_whole(path: Path, document: object) -> None:
    """As JSON, or as it was before, whenever this ends."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(document, indent=1) + "\n")
    partial.replace(path)


def main() -> int:
    options = parsed()
    out = options.out or DEFAULT_OUT / time.strftime("%Y%m%dT%H%M%S.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGHUP, interrupted)
    directory = Path(tempfile.mkdtemp(prefix="nettop-bench-"))
    made = own_cache()
    try:
        return measure(options, out, directory)
    except KeyboardInterrupt:
        sys.stderr.write("bench: interrupted\n")
        return 128 + signal.SIGINT
    finally:
        subprocess.run(["umount", "--lazy", "--quiet", directory / "headers"], check=False)
        shutil.rmtree(directory)
        subprocess.run(["umount", "--lazy", COMPILED], check=True)
        if made and not any(COMPILED.iterdir()):
            COMPILED.rmdir()


if __name__ == "__main__":
    sys.exit(main())
