"""Steady load through a Service, and what became of each request.

One long-lived pod runs curl at a fixed rate, a new connection for every request, so each goes
through kube-proxy anew. It writes a line a request, which the API server streams to us: nothing is
started per request, and a request is known by its number, so a stream that is cut is taken up
again without one lost or told twice. Where one act ends and the next begins is told by numbers
too: the clocks of this machine and of the nodes need not agree.
"""

from __future__ import annotations

import itertools
import re
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kops_toolkit.errors import ApiError, TimedOutError, UnreachableError
from kops_toolkit.kube import views

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from kops_toolkit.kube.api import Json, KubeApi
    from kops_toolkit.system.clock import Clock

LANES = ("one", "two")  # a request that hangs holds up its own lane only
RATE = 20  # requests a second and lane
PATIENCE = 2  # seconds until a request counts as lost by time-out
# The body (the answering pod's name) comes first, unbuffered, then this, on the same line.
LINE = r" %{url} %{http_code} %{exitcode} %{time_total} %{errormsg}\n"
PARSED = re.compile(
    r"^(?P<stamp>\S+) (?P<who>\S*) \S+\?n=(?P<number>\d+) "
    r"(?P<code>\d+) (?P<exit>\d+) (?P<seconds>[\d.]+) ?(?P<error>.*)$"
)
FAILURES = {7: "refused", 28: "timed out", 52: "empty answer", 56: "reset"}  # curl's exit codes

UNTOLD = "not told"  # its line never came: nobody may call it answered


@dataclass(frozen=True)
class Request:
    """What became of one request.

    Attributes:
        at: when it ended, by the node's clock.
        number: its place in its lane, from 1.
        who: name of the pod that answered, "" if none did.
        failure: "" if it was answered with 200, else what went wrong in one or two words.
        seconds: how long it took.
    """

    at: datetime
    number: int
    who: str
    failure: str
    seconds: float


@dataclass(frozen=True)
class Tally:
    """Some requests, summed up.

    Attributes:
        total: how many ended.
        failures: kind of failure to how many were lost by it.
        answers: pod name to how many it answered.
        longest_gap: longest time in seconds, over all lanes, in which none was answered.
        rate: how many ended in a second, on average; 0 for less than two.
    """

    total: int
    failures: Counter[str]
    answers: Counter[str]
    longest_gap: float
    rate: float

    @property
    def lost(self) -> int:
        """How many were not answered with 200."""
        return self.failures.total()

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.failures.most_common())
        return f"{self.lost} of {self.total} requests lost" + (f" ({kinds})" if kinds else "")


def parse(line: str) -> Request | None:
    """One log line as a request; None for a line that is torn or not curl's."""
    found = PARSED.match(line)
    if found is None:
        return None
    code, ended = found["code"], int(found["exit"])
    failure = "" if code == "200" and ended == 0 else FAILURES.get(ended, f"curl {ended}")
    if ended == 0 and code != "200":
        failure = f"HTTP {code}"
    at = views.moment(found["stamp"])
    return Request(at, int(found["number"]), found["who"], failure, float(found["seconds"]))


def tally(requests: Sequence[Request]) -> Tally:
    """Sum up requests of any lanes."""
    answered = sorted(request.at for request in requests if not request.failure)
    gaps = [(b - a).total_seconds() for a, b in itertools.pairwise(answered)]
    ended = [request.at for request in requests]
    span = (max(ended) - min(ended)).total_seconds() if ended else 0.0
    return Tally(
        total=len(requests),
        failures=Counter(request.failure for request in requests if request.failure),
        answers=Counter(request.who for request in requests if not request.failure),
        longest_gap=max(gaps, default=0.0),
        rate=len(requests) / span if span else 0.0,
    )


def client_pod(name: str, image: str, address: str) -> Json:
    """The pod that makes the load.

    Args:
        name: its name.
        image: agnhost, which has sh and curl.
        address: `host:port` of the Service.
    """
    curl = [
        *("curl", "-s", "-N", "--no-keepalive", "-H", "Connection: close"),
        *("--rate", f"{RATE}/s", "--max-time", str(PATIENCE), "-w", "%{stderr}" + LINE),
        f"http://{address}/hostname?n=[1-1000000]",
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": lane,
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sh", "-c", 'exec "$@" 2>&1', "sh", *curl],
                }
                for lane in LANES
            ],
        },
    }


class Load:
    """The requests of one client pod as they come in.

    Args:
        api: streams the pod's logs.
        clock: for waits.
        namespace: the pod's.
        pod: its name.
    """

    def __init__(self, api: KubeApi, clock: Clock, namespace: str, pod: str) -> None:
        self._api = api
        self._clock = clock
        self._namespace = namespace
        self._pod = pod
        self._arrived = threading.Condition()
        self._lanes: dict[str, list[Request]] = {lane: [] for lane in LANES}
        self._closed = False
        self._trouble = ""
        for lane in LANES:
            threading.Thread(target=self._follow, args=(lane,), daemon=True).start()

    def mark(self) -> dict[str, int]:
        """Here: how many requests of each lane have ended so far."""
        with self._arrived:
            return {lane: len(requests) for lane, requests in self._lanes.items()}

    def since(self, mark: dict[str, int]) -> Tally:
        """What became of the requests after a mark."""
        return tally(self.requests(mark))

    def requests(self, mark: dict[str, int] | None = None) -> list[Request]:
        """The requests after a mark (all without one), lane by lane."""
        with self._arrived:
            return [
                request
                for lane, requests in self._lanes.items()
                for request in requests[(mark or {}).get(lane, 0) :]
            ]

    def more(self, count: int, timeout: float = 30.0) -> None:
        """Wait until each lane has ended `count` more requests, the proof that load is on.

        Raises:
            TimedOutError: it has not.
        """
        mark = self.mark()
        self._wait(
            lambda: all(len(self._lanes[lane]) - mark[lane] >= count for lane in LANES),
            timeout,
            f"{count} more requests in each lane",
        )

    def steady(self, count: int = RATE, timeout: float = 60.0) -> None:
        """Wait until the last `count` requests of every lane were all answered.

        Raises:
            TimedOutError: they never were.
        """
        self._wait(
            lambda: all(
                len(requests) >= count and not any(r.failure for r in requests[-count:])
                for requests in self._lanes.values()
            ),
            timeout,
            f"{count} answered requests in a row",
        )

    def failing(self, timeout: float = 60.0) -> None:
        """Wait until the last request of some lane was lost.

        Raises:
            TimedOutError: none was.
        """
        self._wait(
            lambda: any(requests and requests[-1].failure for requests in self._lanes.values()),
            timeout,
            "a lost request",
        )

    def close(self) -> None:
        """Stop listening."""
        with self._arrived:
            self._closed = True
            self._arrived.notify_all()

    def _wait(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        deadline = self._clock.monotonic() + timeout
        with self._arrived:
            while not condition():
                left = deadline - self._clock.monotonic()
                if left <= 0 or self._closed:
                    last = {lane: requests[-1:] for lane, requests in self._lanes.items()}
                    trouble = f"; its log is cut off: {self._trouble}" if self._trouble else ""
                    raise TimedOutError(
                        f"{what} from the load client {self._pod} did not come within "
                        f"{timeout:g} s; last seen: {last}{trouble}"
                    )
                self._arrived.wait(left)

    def _follow(self, lane: str) -> None:
        requests = self._lanes[lane]
        while not self._closed:
            try:
                for line in self._api.logs(self._namespace, self._pod, lane, follow=True):
                    self._take(requests, parse(line))
                    if self._closed:
                        return
            except (ApiError, UnreachableError) as error:
                self._trouble = error.message
            with self._arrived:
                if not self._closed:
                    self._arrived.wait(0.5)  # the container may not run yet; then from the start

    def _take(self, requests: list[Request], request: Request | None) -> None:
        expected = requests[-1].number + 1 if requests else 1
        if request is None or request.number < expected:
            return  # torn, or known from before the stream was cut
        untold = [
            Request(request.at, number, "", UNTOLD, 0.0)
            for number in range(expected, request.number)
        ]
        with self._arrived:
            requests += [*untold, request]
            self._trouble = ""
            self._arrived.notify_all()
