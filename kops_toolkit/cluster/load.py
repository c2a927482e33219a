"""Images onto nodes: only where they are missing, read once, to all nodes at the same time."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Queue
from threading import Thread
from typing import TYPE_CHECKING, Any

from kops_toolkit.errors import KtError, NotFoundError, ToolFailedError
from kops_toolkit.system.process import close_pipes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kops_toolkit.cluster.docker_node import DockerNode
    from kops_toolkit.cluster.engine import Engine
    from kops_toolkit.system.process import Running
    from kops_toolkit.system.progress import Progress

CTR = ("ctr", "--namespace=k8s.io")
CHUNK = 1 << 20  # bytes
AHEAD = 16  # chunks a slow node may be behind the fastest
PULL_WITHIN = 600.0  # seconds

# All digests by which an image is known on a node: of what its name points to, of the manifests
# in that if it is an index, and of their configurations. Which of them the engine calls the
# image's id depends on the engine's image store.
DIGESTS = r"""
target=$(ctr -n k8s.io images ls "name==$1" | awk 'NR == 2 { print $3 }')
[ -n "$target" ] || exit 0
echo "$target"
for manifest in "$target" $(ctr -n k8s.io content get "$target" | jq -r '.manifests[]?.digest'); do
  echo "$manifest"
  ctr -n k8s.io content get "$manifest" 2>/dev/null | jq -r '.config.digest // empty'
done
"""


class Loader:
    """Brings images of the engine onto nodes.

    Args:
        engine: where images come from; it pulls what it lacks.
        progress: hears of it.
    """

    def __init__(self, engine: Engine, progress: Progress) -> None:
        self._engine = engine
        self._progress = progress

    def load(
        self, nodes: Sequence[DockerNode], images: Sequence[str]
    ) -> Mapping[str, tuple[str, ...]]:
        """Bring `images` onto `nodes`; returns by image the names of the nodes that lacked it.

        Raises:
            NotFoundError: the engine has not got an image and cannot pull it.
            ToolFailedError: a node did not take it.
        """
        done: dict[str, tuple[str, ...]] = {}
        for image in dict.fromkeys(images):
            identity = self._identity(image)
            lacking = _lacking(nodes, image, identity)
            if lacking:
                self._progress.step(f"loading {image} onto {len(lacking)} of {len(nodes)} nodes")
                self._stream(image, lacking)
            done[image] = tuple(node.name for node in lacking)
        return done

    def ensure(self, nodes: Sequence[DockerNode], image: str) -> None:
        """Load `image` if a node has none of that name; what is there is taken as it is.

        Raises:
            NotFoundError: a node lacks it, and the engine has not got it and cannot pull it.
        """
        name = canonical(image)
        if not all(
            node.run(["sh", "-c", DIGESTS, "kt-digests", name]).text.split() for node in nodes
        ):
            self.load(nodes, [image])

    def _identity(self, image: str) -> str:
        """The engine's id of an image, which is pulled if need be."""
        ask = ["image", "inspect", "--format", "{{json .}}", image]
        found = self._engine.run(ask, check=False)
        if found.code != 0:
            self._progress.step(f"pulling {image}")
            pulled = self._engine.run(["pull", "--quiet", image], timeout=PULL_WITHIN, check=False)
            if pulled.code != 0:
                said = pulled.err.decode("utf-8", "replace").strip().splitlines()
                raise NotFoundError(
                    f"the image {image} is not on this machine and cannot be pulled: "
                    + (said[-1] if said else "no reason was given"),
                    "check its name, or build it",
                )
            found = self._engine.run(ask)
        told: dict[str, Any] = json.loads(found.out)
        return str(told["Id"])

    def _stream(self, image: str, nodes: Sequence[DockerNode]) -> None:
        """`docker save` once, into every node's `ctr import`."""
        source = self._engine.start(["save", image])
        sinks = [node.start([*CTR, "images", "import", "--digests", "-"]) for node in nodes]
        feeders = [Feeder(sink) for sink in sinks]
        try:
            amount = 0
            for chunk in _chunks(source):
                for feeder in feeders:
                    feeder.give(chunk)
                amount += len(chunk)
                self._progress.amount(amount, None, "bytes")
            _end_well("docker save", source)
            for feeder in feeders:
                feeder.give(None)
            for node, sink in zip(nodes, sinks, strict=True):
                _end_well(f"importing {image} on {node.name}", sink)
        except BaseException:
            for running in (source, *sinks):
                with suppress(KtError):  # a node that is away must not hide what went wrong
                    running.kill()
                running.wait()
            for feeder in feeders:
                feeder.give(None)
            raise
        finally:
            for feeder in feeders:
                feeder.join()
            for running in (source, *sinks):
                close_pipes(running)


class Feeder(Thread):
    """Writes one sink's stdin beside the others, so that nodes do not take turns.

    Args:
        sink: the program to feed.
    """

    def __init__(self, sink: Running) -> None:
        super().__init__(daemon=True)
        self._sink = sink
        self._queue: Queue[bytes | None] = Queue(maxsize=AHEAD)
        self.start()

    def give(self, chunk: bytes | None) -> None:
        """Queue a chunk, or the end; waits while the sink is far behind the source."""
        self._queue.put(chunk)

    def run(self) -> None:
        """See Thread. A sink that has died is drained for: its exit status tells why."""
        alive = self._sink.stdin is not None
        while (chunk := self._queue.get()) is not None:
            if alive and self._sink.stdin:
                try:
                    self._sink.stdin.write(chunk)
                except OSError:
                    alive = False
        if self._sink.stdin:
            with suppress(OSError):
                self._sink.stdin.close()


def canonical(image: str) -> str:
    """The name under which containerd keeps an image: with registry, path and tag.

    `busybox` is `docker.io/library/busybox:latest`, as docker resolves it (its reference package).
    """
    first, slash, rest = image.partition("/")
    if not slash:
        image = f"docker.io/library/{image}"
    elif not ("." in first or ":" in first or first == "localhost"):
        image = f"docker.io/{first}/{rest}"
    return image if "@" in image or ":" in image.rpartition("/")[2] else f"{image}:latest"


def _lacking(nodes: Sequence[DockerNode], image: str, identity: str) -> list[DockerNode]:
    """The nodes that have not got the image, all asked at the same time."""
    with ThreadPoolExecutor(max_workers=max(1, len(nodes))) as pool:
        has = list(pool.map(lambda node: _has(node, image, identity), nodes))
    return [node for node, there in zip(nodes, has, strict=True) if not there]


def _has(node: DockerNode, image: str, identity: str) -> bool:
    known = node.run(["sh", "-c", DIGESTS, "kt-digests", canonical(image)]).text.split()
    return identity in known


def _chunks(source: Running) -> Iterator[bytes]:
    if source.stdout:
        while chunk := source.stdout.read(CHUNK):
            yield chunk


def _end_well(what: str, running: Running) -> None:
    said = running.stderr.read() if running.stderr else b""
    code = running.wait()
    if code != 0:
        lines = said.decode("utf-8", "replace").strip().splitlines()[-3:]
        raise ToolFailedError(f"{what} ended with {code}: {' '.join(lines)}")
