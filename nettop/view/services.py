"""What is said of the service that a process belongs to."""

from nettop.model.rows import ProcessIdentity
from nettop.model.services import short

_CONTAINER = "container"  # where its runtime is not known


def service(process: ProcessIdentity | None) -> str | None:
    """`nginx.service`, `docker:web`, `podman:5d1c9f0e12ab` or `pod:coredns-5d78/coredns`; None if there is none."""
    if process is None:
        return None
    name = None if process.container is None else process.container_name or short(process.container)
    if process.pod is not None or process.pod_uid is not None:
        pod = process.pod or process.pod_uid
        return f"pod:{pod}" if name is None else f"pod:{pod}/{name}"
    return process.unit if name is None else f"{process.container_runtime or _CONTAINER}:{name}"


def container(process: ProcessIdentity) -> str | None:
    """All that is known of its container, for the detail of a process."""
    if process.container is None:
        return None
    parts = [process.container_name or short(process.container)]
    if process.container_name is not None:
        parts.append(f"({process.container_runtime or _CONTAINER} {short(process.container)})")
    elif process.container_runtime is not None:
        parts.append(f"({process.container_runtime})")
    if process.image is not None:
        parts.append(f"image {process.image}")
    return " ".join(parts)


def pod(process: ProcessIdentity) -> str | None:
    """The same of its pod: `kube-system/coredns-5d78`, or its uid where it is not known what it is called."""
    if process.pod is None:
        return process.pod_uid
    return process.pod if process.pod_namespace is None else f"{process.pod_namespace}/{process.pod}"
