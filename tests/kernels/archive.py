"""Packages of other Debian suites, from the archive that this machine's apt is configured with already.

Each suite has apt directories of its own, so that the system's lists, packages and settings stay as they are. Mirror,
proxies, credentials and certificates are the system's.
"""

import os
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_LISTS_MAX_AGE_S = 86_400
_TARGET_FORMAT = "$(CREATED_BY)|$(ORIGIN)|$(LABEL)|$(REPO_URI)"
# 'URI' file size hash: what `apt-get --print-uris` says of each package
_FILE = re.compile(r"^'[^']+' (\S+\.deb) \d+ \S+$", re.MULTILINE)


class ArchiveError(Exception):
    """The archive cannot be used, in one sentence."""


def cache_folder(name: str) -> Path:
    """What a check downloads is kept here from run to run."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "nettop" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Archive:
    """One suite, of packages or of sources. `directory` keeps apt's lists of it from run to run.

    Without an `architecture` it has this machine's packages.
    """

    def __init__(
        self, suite: str, directory: Path, kind: Literal["deb", "deb-src"] = "deb", architecture: str | None = None
    ) -> None:
        self._directory = directory / (f"{suite}-{architecture}" if architecture else suite)
        self._configuration = self._directory / "apt.conf"
        self._prepare(suite, kind, architecture)
        self._update()

    def names(self, prefix: str) -> list[str]:
        """Every package whose name begins so."""
        return self._run("apt-cache", "pkgnames", prefix).split()

    def files(self, packages: Sequence[str], dependencies: bool) -> tuple[str, ...]:
        """The names of the files, with their versions, that fetch() would bring; sorted."""
        return tuple(sorted(_FILE.findall(self._run(*self._fetching(packages, dependencies), "--print-uris"))))

    def fetch(self, packages: Sequence[str], dependencies: bool, into: Path) -> None:
        """Download these packages, and all that they depend on if wanted, into a folder."""
        (into / "partial").mkdir(parents=True, exist_ok=True)
        self._run(*self._fetching(packages, dependencies), "-o", f"Dir::Cache::archives={into}", cwd=into)

    def fetch_source(self, package: str, into: Path) -> None:
        """Download what a package was made from, as its authors published it, into a folder."""
        self._run("apt-get", "-qq", "source", "--download-only", "--tar-only", package, cwd=into)

    def _fetching(self, packages: Sequence[str], dependencies: bool) -> list[str]:
        what = ["install", "--download-only", "--no-install-recommends"] if dependencies else ["download"]
        return ["apt-get", "-qq", *what, *packages]

    def _prepare(self, suite: str, kind: str, architecture: str | None) -> None:
        (self._directory / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        status = self._directory / "status"
        status.touch()  # no package is installed: every dependency is fetched
        signed_by = f"[signed-by={_KEYRING}] " if _KEYRING.exists() else ""
        sources = self._directory / "sources.list"
        sources.write_text(f"{kind} {signed_by}{debian_archive()} {suite} main\n")
        settings = {
            "Dir::State": self._directory,
            "Dir::State::status": status,
            "Dir::Cache": self._directory,
            "Dir::Etc::sourcelist": sources,
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "APT::Sandbox::User": "root",  # the user _apt cannot write into a home directory
        }
        if architecture:
            settings |= {"APT::Architecture": architecture, "APT::Architectures::": architecture}
        self._configuration.write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))

    def _update(self) -> None:
        stamp = self._directory / "updated"
        if stamp.exists() and time.time() - stamp.stat().st_mtime < _LISTS_MAX_AGE_S:
            return
        self._run("apt-get", "-qq", "update")
        if not any((self._directory / "lists").glob("*Release")):  # apt takes no network for a warning
            raise ArchiveError("apt cannot fetch the lists of Debian's archive.")
        stamp.touch()

    def _run(self, *command: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=os.environ | {"APT_CONFIG": str(self._configuration)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ArchiveError(f"{' '.join(command)} failed: {done.stderr.strip()}")
        return done.stdout


def debian_archive() -> str:
    """Where this machine gets Debian's main archive from."""
    try:
        listed = subprocess.run(
            ["apt-get", "indextargets", "--format", _TARGET_FORMAT], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise ArchiveError(f"apt does not say where its packages come from: {error}") from error
    for line in listed.splitlines():
        created_by, origin, label, uri = line.split("|")
        if (created_by, origin, label) == ("Packages", "Debian", "Debian"):
            return uri
    raise ArchiveError("No Debian archive is among apt's sources, or 'apt-get update' has not run yet.")


def unpack(files: Sequence[Path], root: Path, only: Sequence[str] = ()) -> None:
    """Lay the content of packages, or what matches these patterns, over a tree. Their scripts do not run."""
    for file in files:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", file], stdout=subprocess.PIPE) as packed:
            # /bin and /lib are links in the tree and directories in older packages
            command = [
                "tar",
                "-x",
                "-C",
                str(root),
                "--keep-directory-symlink",
                *(["--wildcards", *only] if only else []),
            ]
            done = subprocess.run(command, stdin=packed.stdout, capture_output=True, text=True, check=False)
        if packed.returncode != 0 or (done.returncode != 0 and not only):  # a pattern may match nothing
            raise ArchiveError(f"{file.name} cannot be unpacked: {done.stderr.strip()}")
