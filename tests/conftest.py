"""Which tests run, and what a unit test may not do."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PATIENCE = 300  # seconds for an end-to-end test that names no limit of its own


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--e2e", action="store_true", help="run the tests that need a real cluster")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if HERE / "e2e" in item.path.parents:
            item.add_marker("e2e")
        if item.get_closest_marker("e2e") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(PATIENCE))
    if not config.getoption("--e2e"):
        real = [item for item in items if item.get_closest_marker("e2e")]
        config.hook.pytest_deselected(items=real)
        items[:] = [item for item in items if not item.get_closest_marker("e2e")]


@pytest.fixture(autouse=True)
def no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit test that reaches beyond this machine is a mistake, and fails as one."""
    if request.node.get_closest_marker("e2e"):
        return
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        local = not isinstance(address, tuple) or address[0] in {"127.0.0.1", "::1", "localhost"}
        if not local:
            pytest.fail(f"a unit test tried to reach {address}")
        connect(self, address)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(socket.socket, "connect", guarded)
