"""The builder of ci/node-image, on its real graph and on small ones that run for real."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REAL = Path(__file__).parents[3] / "ci" / "node-image"

KEYS = {
    "coredns": {"coredns", "image-coredns", "node"},
    "etcd": {"etcd", "image-etcd", "node"},
    "runc": {"runc", "base", "node"},
    "moby": {"dockerd"},
    "envoy": {"envoy", "image-envoy"},
    "flannel": {"flannel", "image-flannel", "node"},
    "kind": {"kind", "base", "node"},
    "kubernetes": {"kube", "image-kube", "image-agnhost", "image-pause", "node"},
    "local_path": {"local-path", "image-local-path", "node"},
}


def build(folder: Path, state: Path, *argv: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KT_BUILD_STEPS": str(folder), "KT_BUILD_DIR": str(state), **more}
    command = [sys.executable, str(REAL / "build"), *argv]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=30
    )


def keys(folder: Path, state: Path) -> dict[str, str]:
    listed = build(folder, state, "--list")
    assert listed.returncode == 0, listed.stderr
    return {line.split()[0]: line.split()[1] for line in listed.stdout.splitlines()}


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """A copy of the real graph, to change a version in."""
    return Path(shutil.copytree(REAL, tmp_path / "node-image"))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Three steps: c needs b needs a; each appends to a file what it saw."""
    folder = tmp_path / "small"
    (folder / "steps").mkdir(parents=True)
    (folder / "versions.toml").write_text('[versions]\na = "1"\nb = "1"\n[images]\n')
    (folder / "steps.toml").write_text(
        '[a]\nuses = ["a"]\nbin = ["tool"]\n[b]\nuses = ["b"]\nneeds = ["a"]\n[c]\nneeds = ["b"]\n'
    )
    ran = tmp_path / "ran"
    (folder / "steps" / "lib.sh").write_text("set -euo pipefail\n")
    (folder / "steps" / "a.sh").write_text(f'echo a >>{ran}; echo "$V_a" >"$OUT/tool"\n')
    (folder / "steps" / "b.sh").write_text(f'echo b >>{ran}; cat "$DEP_a/tool" >"$OUT/b"\n')
    (folder / "steps" / "c.sh").write_text(f'echo c >>{ran}; cp "$DEP_b/b" "$OUT/c"\n')
    return folder


def ran(folder: Path) -> str:
    file = folder.parent / "ran"
    told = file.read_text().replace("\n", "") if file.exists() else ""
    file.unlink(missing_ok=True)
    return told


@pytest.mark.parametrize(("version", "expected"), KEYS.items())
def test_a_changed_version_invalidates_exactly_what_depends_on_it(
    real: Path, tmp_path: Path, version: str, expected: set[str]
) -> None:
    before = keys(real, tmp_path)
    file = real / "versions.toml"
    versions, images = file.read_text().split("[images]")
    changed, count = re.subn(
        rf'^{version} = "(.*?)"', rf'{version} = "\1x"', versions, count=1, flags=re.MULTILINE
    )
    assert count == 1
    file.write_text(changed + "[images]" + images)
    after = keys(real, tmp_path)
    assert {name for name in before if before[name] != after[name]} == expected


def test_a_changed_script_invalidates_it_and_what_needs_it(real: Path, tmp_path: Path) -> None:
    before = keys(real, tmp_path)
    with (real / "steps" / "etcd.sh").open("a") as script:
        script.write("# changed\n")
    after = keys(real, tmp_path)
    assert {n for n in before if before[n] != after[n]} == {"etcd", "image-etcd", "node"}


def test_every_version_and_image_is_used_and_every_script_has_a_step() -> None:
    steps = (REAL / "steps.toml").read_text()
    versions, images = (REAL / "versions.toml").read_text().split("[images]")
    for name in re.findall(r"^(\w+) =", versions, re.MULTILINE):
        assert re.search(rf'uses = .*"{name}"', steps), f"version {name} is not used"
    for name in re.findall(r"^(\w+) =", images, re.MULTILINE):
        assert re.search(rf'makes = .*"{name}"', steps), f"image {name} is not made"
    scripts = {file.stem for file in (REAL / "steps").glob("*.sh")} - {"lib"}
    assert scripts == set(re.findall(r"^\[(.*)\]", steps, re.MULTILINE))


def test_the_second_run_runs_nothing(small: Path, tmp_path: Path) -> None:
    first = build(small, tmp_path / "state")
    assert (first.returncode, ran(small)) == (0, "abc")
    second = build(small, tmp_path / "state")
    assert (second.returncode, ran(small)) == (0, "")
    assert "all 3 steps are built" in second.stderr
    assert "disk:" in second.stderr


def test_a_change_in_the_middle_runs_the_rest_and_drops_the_old(
    small: Path, tmp_path: Path
) -> None:
    build(small, tmp_path / "state")
    ran(small)
    (small / "versions.toml").write_text('[versions]\na = "1"\nb = "2"\n[images]\n')
    assert build(small, tmp_path / "state").returncode == 0
    assert ran(small) == "bc"
    assert len(list((tmp_path / "state" / "steps" / "b").iterdir())) == 1


def test_programs_are_found_under_one_path_whatever_their_key(small: Path, tmp_path: Path) -> None:
    build(small, tmp_path / "state")
    assert (tmp_path / "state" / "bin" / "tool").read_text() == "1\n"
    (small / "versions.toml").write_text('[versions]\na = "2"\nb = "1"\n[images]\n')
    build(small, tmp_path / "state")
    assert (tmp_path / "state" / "bin" / "tool").read_text() == "2\n"


def test_a_failed_step_names_itself_and_shows_the_end_of_its_log(
    small: Path, tmp_path: Path
) -> None:
    (small / "steps" / "b.sh").write_text(
        'echo half >"$OUT/b"; seq 100; echo no such module; exit 3'
    )
    failed = build(small, tmp_path / "state")
    assert failed.returncode == 6
    assert "step b failed" in failed.stderr
    assert "no such module" in failed.stderr
    assert "\n79\n" not in failed.stderr
    assert "Traceback" not in failed.stderr
    (small / "steps" / "b.sh").write_text('echo ok >"$OUT/b"')
    ran(small)
    assert build(small, tmp_path / "state").returncode == 0
    assert ran(small) == "c"
    assert (tmp_path / "state" / "logs" / "b.log").exists()


def test_what_was_killed_half_way_is_not_taken_for_built(small: Path, tmp_path: Path) -> None:
    flag = tmp_path / "started"
    (small / "steps" / "b.sh").write_text(
        f'echo half >"$OUT/b"; [ -e {flag} ] || {{ touch {flag}; sleep 30; }}; echo whole >"$OUT/b"'
    )
    environment = {
        **os.environ,
        "KT_BUILD_STEPS": str(small),
        "KT_BUILD_DIR": str(tmp_path / "state"),
    }
    running = subprocess.Popen(
        [sys.executable, str(REAL / "build")],
        env=environment,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not flag.exists():
        assert running.poll() is None
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    again = build(small, tmp_path / "state")
    assert again.returncode == 0, again.stderr
    (output,) = (tmp_path / "state" / "steps" / "c").glob("*/c")
    assert output.read_text() == "whole\n"


def test_an_unknown_step_is_one_sentence(small: Path, tmp_path: Path) -> None:
    done = build(small, tmp_path / "state", "nope")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: there is no step called nope; --list shows them\n"


def test_without_an_engine_an_image_is_not_taken_for_built(small: Path, tmp_path: Path) -> None:
    """What CI met: outputs were there, the engine was not, and docker printed an empty line."""
    (small / "versions.toml").write_text('[versions]\na = "1"\nb = "1"\n[images]\nimg = "x:1"\n')
    steps = small / "steps.toml"
    steps.write_text(steps.read_text() + '[d]\nneeds = ["c"]\nmakes = ["img"]\n')
    (small / "steps" / "d.sh").write_text("true\n")
    key = keys(small, tmp_path / "state")["d"]
    (tmp_path / "state" / "steps" / "d" / key).mkdir(parents=True)
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text("#!/bin/sh\necho\nexit 1\n")
    docker.chmod(0o755)
    path = f"{docker.parent}{os.pathsep}{os.environ['PATH']}"
    listed = build(small, tmp_path / "state", "--list", PATH=path)
    assert listed.returncode == 0, listed.stderr
    assert re.search(rf"^d +{key} +to be built$", listed.stdout, re.MULTILINE)
