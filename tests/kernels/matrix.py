"""`make matrix`: nettop on every kernel from 5.10 to the newest, in virtual machines without KVM; then a table."""

import argparse
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

from tests.kernels import MatrixError
from tests.kernels.ahead import AheadError, compile_ahead, keep
from tests.kernels.archive import Archive, ArchiveError, cache_folder
from tests.kernels.guest import Run, copy_tree, require_one_file, run_guest
from tests.kernels.kernels import CLOUD, NEWEST, SUITES, Kernel, provide_kernel, suite_of
from tests.kernels.machines import MACHINES, Machine
from tests.kernels.processes import are_ending, end_all
from tests.kernels.settings import COMPILING, LARGE_PAGES, PLAIN, QUICK, VARIANTS, Setting
from tests.kernels.userland import ROOT, Userland, provide_userland

_GUESTS = len(os.sched_getaffinity(0)) + 1  # at a time, by default: while one of them waits, the others compute
_USERLAND, _NEWER_USERLAND = "bookworm", "trixie"


@dataclass(frozen=True)
class Case:
    """One guest: which kernel, whose Python and BCC, and what is not as usual there."""

    series: str
    userland: str = _USERLAND
    flavour: str = CLOUD
    setting: Setting = PLAIN

    @property
    def name(self) -> str:
        """As the command line takes it."""
        userland = self.userland if self.userland != _USERLAND else ""
        flavour = self.flavour if self.flavour != CLOUD else ""
        return "/".join(filter(None, (self.series, flavour, userland, self.setting.name)))

    @property
    def machine(self) -> Machine:
        """What it runs on."""
        (machine,) = (machine for name, machine in MACHINES.items() if name in self.flavour)
        return machine

    @property
    def kernel(self) -> tuple[str, str]:
        """As provide_kernel() takes it."""
        return self.series, self.flavour


# The slowest first.
CASES = (
    Case("6.1", flavour="cloud-arm64", setting=COMPILING),
    Case("6.12", _NEWER_USERLAND, "arm64-16k", LARGE_PAGES),
    Case("6.12", _NEWER_USERLAND, setting=COMPILING),
    *(Case(series, setting=COMPILING if series == "6.1" else PLAIN) for series in (*SUITES, NEWEST)),
    *(Case("6.1", setting=setting) for setting in VARIANTS),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases; 0 if all passed, 1 if any failed, 2 if they cannot run here, 130 if interrupted."""
    parser = argparse.ArgumentParser(prog="matrix", description=__doc__)
    names = [case.name for case in CASES]
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"only these: {', '.join(names)}")
    parser.add_argument("--guests", type=int, default=_GUESTS, help=f"how many at a time (default {_GUESTS})")
    parser.add_argument("--quick", action="store_true", help="only a few tests on each kernel, and no other settings")
    parser.add_argument("--verbose", action="store_true", help="show what the guests say also where all went well")
    options = parser.parse_args(arguments)
    if options.guests < 1:
        parser.error("--guests must be 1 or more")
    if unknown := set(options.cases) - set(names):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    cases = [case for case in CASES if not options.cases or case.name in options.cases]
    if options.quick:
        cases = [replace(case, setting=QUICK) for case in cases if not case.setting.name]
        if not cases:
            parser.error("--quick runs no case with a setting of its own")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        return run(cases, options.guests, options.verbose)
    except KeyboardInterrupt:
        _say("The matrix was interrupted.")
        return 130
    except ArchiveError as error:
        _say(f"The kernels cannot be had: {error}")
        return 2
    except MatrixError as error:
        _say(str(error))
        return 2
    except (OSError, subprocess.CalledProcessError) as error:
        _say(f"The matrix cannot go on: {error}")
        return 2


def run(cases: Sequence[Case], guests: int, verbose: bool) -> int:
    """Fetch what is missing, boot every case, print the table."""
    begun = time.monotonic()
    for program in sorted({"cpio", *(case.machine.qemu[0] for case in cases)}):
        if shutil.which(program) is None:
            raise MatrixError(f"There is no {program} here: 'make matrix' installs it.")
    if any("one_file" in case.setting.steps for case in cases):
        require_one_file(ROOT)
    cache = cache_folder("kernels")
    with _locked(cache):
        archives = {
            (suite, architecture): Archive(suite, cache / "archive", architecture=architecture)
            for suite, architecture in sorted(_suites(cases))
        }
        kernels = {
            case.kernel: provide_kernel(*case.kernel, archives[suite_of(case.series), case.machine.debian], cache)
            for case in {case.kernel: case for case in cases}.values()
        }
        userlands = {
            (suite, machine): provide_userland(suite, archives[suite, machine.debian], machine, cache)
            for suite, machine in dict.fromkeys((case.userland, case.machine) for case in cases)
        }
    _say(f"kernels and userlands are there after {time.monotonic() - begun:.0f} s")

    with (
        tempfile.TemporaryDirectory(prefix="nettop-tree-") as directory,
        ExitStack() as held,
        ThreadPoolExecutor(guests) as pool,
    ):
        tree = Path(directory) / "tree"
        copy_tree(tree)
        ahead = _Ahead(cases, tree, cache_folder("compiled"), held)

        def boot(case: Case) -> Run:
            kernel, userland = kernels[case.kernel], userlands[case.userland, case.machine]
            try:
                compiled = ahead.of(case, kernel, userland) if case.setting.compiles else None
            except AheadError as error:
                done = Run(died=f"No guest was started: its programs cannot be compiled.\n{error}")
            else:
                done = run_guest(kernel, userland, case.setting, tree, compiled)
                if compiled is not None:
                    keep(done.compiled, compiled)
            if not are_ending():
                _report(case, done, verbose)
            return done

        try:
            runs = dict(zip(cases, pool.map(boot, cases), strict=True))
        except BaseException:
            end_all()
            raise
    _say(table(runs, kernels))
    _say(absences(runs, kernels))
    passed = all(_passed(case, done) for case, done in runs.items())
    _say(f"{'all passed' if passed else 'FAILED'} in {time.monotonic() - begun:.0f} s")
    return 0 if passed else 1


def table(runs: dict[Case, Run], kernels: dict[tuple[str, str], Kernel]) -> str:
    """A line for each guest: how its steps went, and the seconds that they took."""
    steps = dict.fromkeys(name for case in runs for name in _steps(case))
    lines: list[tuple[str, ...]] = [("kernel", "userland", "setting", *steps, "seconds")]
    for case, done in runs.items():
        cells = (_cell(done, name) if name in _steps(case) else "" for name in steps)
        lines.append((kernels[case.kernel].release, case.userland, case.setting.name, *cells, f"{done.seconds:.0f}"))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def absences(runs: dict[Case, Run], kernels: dict[tuple[str, str], Kernel]) -> str:
    """What each kernel cannot tell, as `nettop doctor` says there."""
    lines = []
    for case, done in runs.items():
        said = done.steps.get("doctor") or done.steps.get("report")
        if said is not None and said.passed and not case.setting.name:
            release = kernels[case.kernel].release
            lines += ["", f"{release} tells {'all but' if said.absent else 'everything'}"]
            lines += [f"  {absent}" for absent in said.absent]
    return "\n".join(lines)


def _steps(case: Case) -> tuple[str, ...]:
    """With the first, which passes in a guest that is what its case says."""
    return "boot", *case.setting.steps


def _cell(done: Run, name: str) -> str:
    step = done.steps.get(name)
    if step is None:
        return "not run"
    return f"{'ok' if step.passed else 'FAILED'} {step.seconds:.0f} s"


def _passed(case: Case, done: Run) -> bool:
    return done.died is None and all(name in done.steps and done.steps[name].passed for name in _steps(case))


def _report(case: Case, done: Run, verbose: bool) -> None:
    passed = _passed(case, done)
    boots = f", {done.boots} boots" if done.boots > 1 else ""
    _say(f"{case.name}: {'passed' if passed else 'FAILED'} after {done.seconds:.0f} s{boots}")
    if verbose or not passed:
        _say(done.output)
    if done.died is not None:
        _say(done.died)


class _Ahead:
    """What is compiled here for guests: once for all with the same kernel and userland, when the first wants it."""

    def __init__(self, cases: Sequence[Case], tree: Path, cache: Path, held: ExitStack) -> None:
        self._tree, self._cache, self._held = tree, cache, held
        self._steps: dict[str, set[str]] = {}
        for case in (case for case in cases if case.setting.compiles):
            self._steps.setdefault(self._name(case), set()).update(case.setting.steps)
        self._locks = {name: Lock() for name in self._steps}
        self._errors: dict[str, AheadError] = {}
        compiler = hashlib.sha256()
        # with the sources, or a guest with an emulated processor would find only what they were before
        for file in (*sorted((tree / "nettop/kernel").glob("*.py")), *sorted((tree / "bpf").rglob("*.[ch]"))):
            compiler.update(file.read_bytes())
        self._compiler = compiler.hexdigest()[:16]

    def of(self, case: Case, kernel: Kernel, userland: Userland) -> Path:
        """The directory, which is not there if this machine cannot compile for that guest. Raises AheadError."""
        name = self._name(case)
        kept = self._cache / name / f"{self._compiler}-{kernel.release}-{userland.image.stem}"
        with self._locks[name]:
            if steps := sorted(self._steps.pop(name, ())):
                self._remove_others(kept)
                hides = case.setting.hides_mptcp
                try:
                    compile_ahead(kernel, userland, self._tree, kept, steps=steps, hides_mptcp=hides)
                except AheadError as error:
                    self._errors[name] = error
            if name in self._errors:
                raise self._errors[name]
        return kept

    def _remove_others(self, kept: Path) -> None:
        """Remove what other sources were compiled to, unless another matrix is here; none does so until we end."""
        kept.parent.mkdir(parents=True, exist_ok=True)
        lock = self._held.enter_context(kept.parent.with_name(f"{kept.parent.name}.lock").open("w"))
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for outdated in {*kept.parent.iterdir()} - {kept}:
                shutil.rmtree(outdated) if outdated.is_dir() else outdated.unlink()
        fcntl.flock(lock, fcntl.LOCK_SH)

    @staticmethod
    def _name(case: Case) -> str:
        mptcp = "without-mptcp" if case.setting.hides_mptcp else ""
        return "-".join(filter(None, (*case.kernel, case.userland, mptcp)))


def _suites(cases: Sequence[Case]) -> set[tuple[str, str]]:
    return {(suite, case.machine.debian) for case in cases for suite in (suite_of(case.series), case.userland)}


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """One matrix at a time fills the cache."""
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
