"""The labels of a process: its unit and comm, without what is new with each start."""

import re

from nettop.model.rows import ProcessIdentity

_NUMBERS = re.compile(r"[0-9a-f]{8,}|[0-9]+")
# What systemd, its users and runtimes number: session-12.scope, run-u34.service, docker-5d1c9f0e12ab….scope
_NUMBERED = re.compile(r".*\.scope|run-[^@]*\.service|systemd-coredump@.*")


def unit_label(process: ProcessIdentity) -> str:
    """`nginx.service`, `docker:web`, `podman`, `pod:kube-system/coredns`; empty for none.

    A container without a known name is only its runtime, and a pod its namespace and the name of its container:
    ids and names of pods are new with each start. In names that managers number, each number is `*`.
    """
    if process.pod is not None or process.pod_uid is not None:
        named = process.pod_namespace or process.container_name
        return f"pod:{process.pod_namespace or ''}/{process.container_name or ''}" if named else "pod"
    if process.container is not None:
        runtime = process.container_runtime or "container"
        return runtime if process.container_name is None else f"{runtime}:{process.container_name}"
    unit = process.unit or ""
    return _NUMBERS.sub("*", unit) if _NUMBERED.fullmatch(unit) else unit
