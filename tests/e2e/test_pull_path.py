from __future__ import annotations

from pathlib import Path

import pytest

from kops_toolkit.system.process import SystemProcesses

SCRIPT = Path(__file__).parents[2] / "ci" / "pull-path"


@pytest.mark.alone
@pytest.mark.timeout(1200)
def test_with_docker_and_a_registry_kt_told_nothing_pulls_and_comes_up() -> None:
    done = SystemProcesses().run([str(SCRIPT)], timeout=1150, check=False)
    said = done.err.decode()
    assert done.code == 0, said
    assert "the cluster is up from the pulled image" in said
    assert "rolling-update: passed" in done.text
