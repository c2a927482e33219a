from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from kops_toolkit.errors import RefusedError
from kops_toolkit.system.lock import alone
from kops_toolkit.system.process import SystemProcesses, close_pipes

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import sys, time
from pathlib import Path
from kops_toolkit.system.lock import alone
with alone(Path(sys.argv[1]), "busy"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_only_one_at_a_time_and_again_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    with alone(path, "x"), pytest.raises(RefusedError, match="y is busy"), alone(path, "y is busy"):
        pass
    with alone(path, "x"):
        assert path.exists()


def test_a_killed_holder_holds_no_more(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = SystemProcesses().start([sys.executable, "-c", HOLD, str(path)])
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(RefusedError), alone(path, "busy"):
            pass
    finally:
        holder.kill()
        holder.wait()
        close_pipes(holder)
    with alone(path, "busy"):
        assert path.exists()
