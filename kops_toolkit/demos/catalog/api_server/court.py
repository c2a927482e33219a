"""The namespace with its rules, who asks, and how answers are judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kops_toolkit.errors import ApiError
from kops_toolkit.kube.temporal import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from kops_toolkit.demos.model import Scene
    from kops_toolkit.kube.api import Json, KubeApi

KNOWN_WITHIN = 15.0  # seconds until the API server must know of a new role, policy or default
ASK_EVERY = 0.2  # seconds; the server learns of these by itself and tells nobody when


class Court:
    """The namespace with its rules, and who asks.

    Args:
        scene: where it plays.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.admin = scene.api
        self.namespace = scene.namespace
        self.admin.create(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "caller"}},
            self.namespace,
        )
        self.token = self.admin.token(self.namespace, "caller")
        self.caller = self.admin.as_token(self.token)

    def config_map(self, name: str, labels: dict[str, str] | None = None) -> Json:
        """A ConfigMap's manifest."""
        meta = {"name": name, "labels": labels or {}}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": "1"}}

    def dry(self, api: KubeApi) -> Json:
        """The answer to a ConfigMap that is only tried."""
        return api.create(self.config_map("dry"), self.namespace, dry_run=True)

    def answer(self, ask: Callable[[], Json]) -> tuple[int, str, Json]:
        """Status, message and object of an answer; 200 for any that is no error."""
        try:
            return 200, "", ask()
        except ApiError as error:
            return error.status, error.message, {}

    def until(self, ask: Callable[[], Json], status: int) -> tuple[int, str, Json]:
        """Ask again until the answer has this status, for a while.

        The API server learns of a new rule by its own watch, and nothing tells that it has.
        """
        clock = self.scene.clock
        began = clock.monotonic()
        found = self.answer(ask)
        while found[0] != status and clock.monotonic() - began < KNOWN_WITHIN:
            clock.sleep(ASK_EVERY)
            found = self.answer(ask)
        return found

    def judge(
        self, name: str, title: str, status: int, words: str, found: tuple[int, str, Json]
    ) -> None:
        """Judge an answer by its status and its words."""
        told = f"{found[0]} {found[1]}".strip()
        self.scene.judge(
            name,
            title,
            f"{status} {words}".strip(),
            Verdict(
                held=found[0] == status and words in found[1],
                observed=told[:240],
                source=self.admin.server,
            ),
        )
