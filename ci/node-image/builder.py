"""Builds what kind and the demos need from package registries, each step once.

A step is a script in `steps/`. Its key is the sha256 over that script, the versions and image
names it uses and the keys of the steps it needs, so a changed version makes new keys for exactly
what depends on it. What a step makes is found under its key: files in `steps/NAME/KEY/`, moved
there only when the script has ended well; images in the engine, labelled with the key. A build
that was killed leaves a folder that is never looked at, and no label.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

LABEL = "io.kops-toolkit.build-key"
TAIL = 20  # lines of a failed step's log that are shown
NEEDED_GB = 30  # free disk for a build from nothing: caches, work files and images


class BuildError(Exception):
    """A sentence for a person, and the exit code that goes with it."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Step:
    """One step as steps.toml describes it; see there for the fields."""

    name: str
    uses: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    bin: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graph:
    """All steps with all versions.

    Attributes:
        folder: where steps.toml, versions.toml and steps/ lie.
        steps: by name, each after those it needs.
        versions: name to version.
        images: name to image reference.
    """

    folder: Path
    steps: Mapping[str, Step]
    versions: Mapping[str, str]
    images: Mapping[str, str]
    _keys: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Graph:
        """Read the three files; what does not fit together is an error."""
        told = tomllib.loads((folder / "versions.toml").read_text())
        steps: dict[str, Step] = {}
        for name, raw in tomllib.loads((folder / "steps.toml").read_text()).items():
            step = Step(name, **{key: tuple(value) for key, value in raw.items()})
            for unknown in [need for need in step.needs if need not in steps]:
                raise BuildError(f"{name} needs {unknown}, which does not come before it", 2)
            for unknown in [use for use in step.uses if use not in told["versions"]]:
                raise BuildError(f"{name} uses {unknown}, which versions.toml has not", 2)
            for unknown in [i for i in (*step.makes, *step.images) if i not in told["images"]]:
                raise BuildError(
                    f"{name} names the image {unknown}, which versions.toml has not", 2
                )
            steps[name] = step
        return cls(folder, steps, told["versions"], told["images"])

    def key(self, name: str) -> str:
        """The content key of a step: 16 hexadecimal digits."""
        if name not in self._keys:
            step = self.steps[name]
            parts = {
                "script": self.script(name).read_text(),
                "shared": (self.folder / "steps/lib.sh").read_text(),
                "versions": {use: self.versions[use] for use in step.uses},
                "images": {i: self.images[i] for i in (*step.makes, *step.images)},
                "needs": {need: self.key(need) for need in step.needs},
            }
            digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
            self._keys[name] = digest.hexdigest()[:16]
        return self._keys[name]

    def script(self, name: str) -> Path:
        """Path of a step's script."""
        return self.folder / "steps" / f"{name}.sh"

    def closure(self, wanted: Sequence[str]) -> list[str]:
        """The wanted steps with all they need, in order."""
        found: set[str] = set()

        def add(name: str) -> None:
            if name not in self.steps:
                raise BuildError(f"there is no step called {name}; --list shows them", 2)
            if name not in found:
                found.add(name)
                for need in self.steps[name].needs:
                    add(need)

        for name in wanted:
            add(name)
        return [name for name in self.steps if name in found]


class Store:
    """What has been built.

    Args:
        root: $KT_BUILD_DIR.
        graph: the steps.
    """

    def __init__(self, root: Path, graph: Graph) -> None:
        self.root = root
        self._graph = graph

    def output(self, name: str) -> Path:
        """The folder of a step's files under its key."""
        return self.root / "steps" / name / self._graph.key(name)

    def log(self, name: str) -> Path:
        """The log of a step's last run."""
        return self.root / "logs" / f"{name}.log"

    def built(self) -> set[str]:
        """The steps whose outputs of this very key are there."""
        there = {name for name in self._graph.steps if self.output(name).is_dir()}
        makers = [name for name in there if self._graph.steps[name].makes]
        wanted = [self._graph.images[i] for name in makers for i in self._graph.steps[name].makes]
        labels = image_labels(wanted)
        for name in makers:
            made = [self._graph.images[i] for i in self._graph.steps[name].makes]
            if any(labels.get(image) != self._graph.key(name) for image in made):
                there.discard(name)
        return there

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one build at a time; another waits here and then finds all done."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def tidy(self) -> None:
        """Drop outputs of other keys and what killed builds left, and link programs into bin/."""
        for name in self._graph.steps:
            keep = self.output(name)
            for folder in keep.parent.glob("*") if keep.parent.is_dir() else ():
                if folder != keep:
                    shutil.rmtree(folder)
        programs = self.root / "bin"
        programs.mkdir(exist_ok=True)
        for name, step in self._graph.steps.items():
            for program in step.bin:
                target = self.output(name) / program
                if target.exists():
                    part = programs / f".{program}.part"
                    part.unlink(missing_ok=True)
                    part.symlink_to(target)
                    part.replace(programs / program)


def image_labels(images: Sequence[str]) -> dict[str, str]:
    """Image reference to the key it is labelled with, for those that the engine has."""
    if not images or not shutil.which("docker"):
        return {}
    template = '{{json .RepoTags}} {{index .Config.Labels "' + LABEL + '"}}'
    ask = ["docker", "image", "inspect", "--format", template, *images]
    done = subprocess.run(ask, capture_output=True, text=True, check=False)
    found: dict[str, str] = {}
    # Where no engine answers or an image is missing, docker prints an empty line in its place.
    for line in filter(None, done.stdout.splitlines()):
        tags, _, key = line.partition(" ")
        for tag in json.loads(tags) or ():
            for image in images:
                if image.removeprefix("docker.io/") == tag.removeprefix("docker.io/"):
                    found[image] = key
    return found


class Builder:
    """Runs what is missing.

    Args:
        graph: the steps.
        store: where outputs go.
        engine: starts an engine if none answers; called once, before the first image.
    """

    def __init__(self, graph: Graph, store: Store, engine: Sequence[str]) -> None:
        self._graph = graph
        self._store = store
        self._engine = engine

    def build(self, wanted: Sequence[str]) -> int:
        """Build the wanted steps and what they need; returns how many had to run."""
        with self._store.locked():
            order = self._graph.closure(wanted)
            if any(self._graph.steps[name].makes for name in order):
                order = self._with_engine(order)
            built = self._store.built()
            missing = [name for name in order if name not in built]
            for number, name in enumerate(missing, 1):
                self._run(name, f"[{number:2}/{len(missing)}]")
            if not missing:
                say(f"all {len(order)} steps are built")
            self._store.tidy()
            return len(missing)

    def _with_engine(self, order: list[str]) -> list[str]:
        """An engine must answer before images are looked for; its own parts are built if not."""
        if engine_answers():
            return order
        parts = self._graph.closure(
            [n for n in ("containerd", "runc", "dockerd") if n in self._graph.steps]
        )
        missing = [name for name in parts if not self._store.output(name).is_dir()]
        for number, name in enumerate(missing, 1):
            self._run(name, f"[engine {number}/{len(missing)}]")
        self._store.tidy()
        done = subprocess.run(self._engine, check=False)
        if done.returncode:
            raise BuildError("the engine does not start", 6)
        return order

    def _run(self, name: str, place: str) -> None:
        step, target, log = self._graph.steps[name], self._store.output(name), self._store.log(name)
        part = target.with_name(f".{target.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        say(f"{place} {name} …")
        script = f'. "{self._graph.folder}/steps/lib.sh"; . "{self._graph.script(name)}"'
        with log.open("wb") as file:
            done = subprocess.run(
                ["bash", "-c", script],
                env=self._environment(name, part),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-TAIL:])
            raise BuildError(f"step {name} failed; the end of its log {log}:\n{tail}", 6)
        for leftover in part.iterdir():  # an image's context and hidden work folders have served
            if step.makes or leftover.name.startswith("."):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
        say(f"{place} {name} {time.monotonic() - began:.0f} s")

    def _environment(self, name: str, out: Path) -> dict[str, str]:
        step = self._graph.steps[name]
        images = (*step.makes, *step.images)
        return {
            **os.environ,
            "OUT": str(out),
            "KEY": self._graph.key(name),
            **{f"V_{use}": self._graph.versions[use] for use in step.uses},
            **{f"I_{image}": self._graph.images[image] for image in images},
            **{
                f"DEP_{need.replace('-', '_')}": str(self._store.output(need))
                for need in step.needs
            },
        }


def engine_answers() -> bool:
    """Whether a container engine answers."""
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def say(text: str) -> None:
    """A line of progress, on stderr."""
    print(text, file=sys.stderr, flush=True)
