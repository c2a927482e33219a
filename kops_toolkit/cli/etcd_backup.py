"""`kt etcd backup` and `kt etcd verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kops_toolkit.cli.context import kt
from kops_toolkit.cli.options import ClusterOption, Format, FormatOption
from kops_toolkit.errors import NotFoundError, UsageError
from kops_toolkit.outcome import Status
from kops_toolkit.report import as_json, as_table, console

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from kops_toolkit.etcd.access import Access
    from kops_toolkit.wiring import Kt


def backup(
    ctx: typer.Context,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File to make, or a folder. Default: etcd-NAME-TIME.db here.",
        ),
    ] = None,
    cluster: ClusterOption = None,
    node: Annotated[
        str | None,
        typer.Option(metavar="NODE", help="Whose member. Default: a follower that is up to date."),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Any etcd v3 member instead, e.g. https://10.0.0.5:2379."),
    ] = None,
    cacert: Annotated[
        Path | None, typer.Option(metavar="PEM", help="With --endpoint: CA of its certificate.")
    ] = None,
    cert: Annotated[
        Path | None, typer.Option(metavar="PEM", help="With --endpoint: certificate to show it.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="PEM", help="With --endpoint: the key of --cert.")
    ] = None,
    tunnel: Annotated[
        bool,
        typer.Option(
            "--tunnel",
            envvar="KT_ETCD_TUNNEL",
            help="Go through the node even if its address can be reached from here.",
        ),
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON, not the file's name.")
    ] = False,
) -> None:
    """Take a snapshot of etcd, checked while it arrives.

    It is streamed from one member; nothing is written on the member's own disk. It gets its name
    only after its sha256 matched, it was read back to its last record, and the member computed the
    same HashKV. FILE.json beside it says what it must be, for `kt etcd verify`. Its mode is 0600:
    it holds every Secret of the cluster. An existing file is never overwritten.

      kt etcd backup

      kt etcd backup -o before-upgrade.db --cluster rehearsal

      kt etcd backup --endpoint https://10.0.0.5:2379 --cacert ca.crt --cert c.crt --key c.key
    """
    from kops_toolkit.etcd.backup import Backups, place

    wired = kt(ctx)
    pems = (cacert, cert, key)
    if endpoint is None:
        if any(pems):
            raise UsageError("--cacert, --cert and --key go with --endpoint")
        reached = _of_cluster(wired, cluster, node, tunnel=tunnel)
    else:
        if cluster or node or tunnel:
            raise UsageError("--endpoint excludes --cluster, --node and --tunnel")
        reached = _of_endpoint(endpoint, *pems)
    with reached as access:
        path = place(output, access.name, wired.clock.now())
        taken = Backups(wired.clock, wired.progress).take(access.client, path, origin=access.url)
    for check in taken.report.checks:
        wired.progress.note(f"{check.status.value}: {check.title} {check.reason}".rstrip())
    console.emit(as_json.report(taken.report) if json else str(taken.path))


def verify(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A snapshot, of any tool.")],
    output: FormatOption = Format.table,
) -> None:
    """Prove that a snapshot file is sound, layer by layer; etcd is not needed.

    The sha256 at its end, both meta pages, the page tree, every record, and the sidecar of `kt etcd
    backup` if there is one. HASH and HashKV are those of `etcdutl snapshot status` and `etcdctl
    endpoint hashkv`. The file is only read. Exits 7 if anything is wrong with it.

      kt etcd verify etcd-kt-control-plane-20261124T020000Z.db
    """
    from kops_toolkit.etcd.verify import verify as judge

    wired = kt(ctx)
    verified = judge(file, clock=wired.clock, progress=wired.progress)
    failed = verified.report.status is Status.FAILED
    if output is Format.table:
        # stdout stays empty when a command fails, so what is wrong is for people's eyes.
        shown = console.people() if failed else console.data()
        shown.print(as_table.report(verified.report))
    facts = verified.require()
    if output is Format.json:
        console.emit(as_json.report(verified.report))
    else:
        resources = [(name, str(keys)) for name, keys in facts.resources.items()]
        console.data().print(as_table.rows(("RESOURCE", "KEYS"), resources))


def _of_cluster(
    wired: Kt, cluster: str | None, node: str | None, *, tunnel: bool
) -> AbstractContextManager[Access]:
    from kops_toolkit.etcd import access

    found = wired.clusters().find(cluster)
    if node:
        return access.to_node(found.node(node), wired.progress, tunnel=tunnel)
    return access.to_best(found.nodes, wired.progress, tunnel=tunnel)


def _of_endpoint(
    url: str, cacert: Path | None, cert: Path | None, key: Path | None
) -> AbstractContextManager[Access]:
    from kops_toolkit.etcd import access
    from kops_toolkit.etcd.endpoint import Credentials, parse

    if (cert or key) and not (cacert and cert and key):
        raise UsageError("--cert and --key belong together, and go with --cacert")
    credentials = None
    if cacert:
        credentials = Credentials(
            _pem(cacert), _pem(cert) if cert else None, _pem(key) if key else None
        )
    return access.to_endpoint(parse(url, credentials))


def _pem(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise NotFoundError(f"{path} cannot be read: {cause.strerror}") from cause
