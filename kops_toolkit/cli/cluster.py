"""`kt cluster`: make, see, fill, enter and delete kind clusters."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from kops_toolkit.cli.context import kt
from kops_toolkit.cli.options import ConsentOption, Format, FormatOption
from kops_toolkit.report import as_json, as_table, console

app = typer.Typer(
    name="cluster",
    help="Make, see, fill, enter and delete kind clusters.",
    no_args_is_help=True,
)

NameOption = Annotated[
    str | None,
    typer.Option("--name", "--cluster", metavar="NAME", help="Default: kt's only one, else `kt`."),
]


Profile = StrEnum("Profile", ["single", "multi", "ha"])
ProxyMode = StrEnum("ProxyMode", ["iptables", "nftables", "ipvs"])


@app.command()
def up(
    ctx: typer.Context,
    *,
    profile: Annotated[
        Profile,
        typer.Option(help="single: one node. multi: 1 control plane, 2 workers. ha: 3 and 2."),
    ] = Profile.single,
    name: Annotated[str, typer.Option("--name", "--cluster", help="What to call it.")] = "kt",
    image: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE",
            help="Node image. Default: $KT_NODE_IMAGE, else one built here, else kind's.",
        ),
    ] = None,
    proxy_mode: Annotated[
        ProxyMode, typer.Option(help="How Services are made to work on the nodes.")
    ] = ProxyMode.iptables,
    cni: Annotated[
        str, typer.Option(help="Pod network. There is `default`: the node image's own.")
    ] = "default",
    wait: Annotated[
        int, typer.Option(min=0, metavar="SECONDS", help="For nodes and DNS; 0 does not wait.")
    ] = 180,
    merge: Annotated[
        bool, typer.Option("--merge", help="Also put it into your own kubeconfig, as current.")
    ] = False,
) -> None:
    """Make a kind cluster that carries kt's mark.

    Whatever this host needs said to kubelet and containerd (cgroup v1, a missing capability) is
    found out and said. Its kubeconfig is kt's own file; yours stays as it is without --merge.
    If it fails or is interrupted, what was begun is deleted again.

      kt cluster up

      kt cluster up --profile ha --name rehearsal --proxy-mode nftables

      KUBECONFIG=$(kt cluster kubeconfig --path) kubectl get nodes
    """
    from kops_toolkit.cluster.spec import ClusterSpec

    spec = ClusterSpec(name, profile.value, proxy_mode.value, cni, image)
    cluster = kt(ctx).lifecycle().up(spec, wait=wait, merge=merge)
    kt(ctx).progress.note(
        f"the cluster {cluster.name} is up; "
        f"`export KUBECONFIG=$(kt cluster kubeconfig --name {cluster.name} --path)` for kubectl"
    )


@app.command()
def down(
    ctx: typer.Context,
    *,
    # Unlike elsewhere kt's only cluster is not good enough: what is deleted is named, or is `kt`.
    name: Annotated[str, typer.Option("--name", "--cluster", help="Which one.")] = "kt",
    consent: ConsentOption = None,
) -> None:
    """Delete a cluster that kt made, and kt's files of it.

    Any other kind cluster is refused, unless its name is said twice:

      kt cluster down --name other --i-know-this-breaks other
    """
    gone = kt(ctx).lifecycle().down(name, consent)
    kt(ctx).progress.note(f"the cluster {gone} is gone")


@app.command("list")
def list_(ctx: typer.Context, output: FormatOption = Format.table) -> None:
    """All kind clusters of this machine, and which of them kt made."""
    from kops_toolkit.cluster.overview import overview

    found = overview(kt(ctx).clusters())
    if output is Format.json:
        console.emit(as_json.dump([item.facts() for item in found]))
    else:
        rows = [
            (
                item.name,
                "kt" if item.ours else "-",
                item.profile or "-",
                str(item.nodes),
                item.state,
                item.version or "-",
            )
            for item in found
        ]
        columns = ("NAME", "MADE BY", "PROFILE", "NODES", "STATE", "VERSION")
        console.data().print(as_table.rows(columns, rows))


@app.command()
def status(
    ctx: typer.Context, name: NameOption = None, output: FormatOption = Format.table
) -> None:
    """Nodes, versions and health of one cluster; it works with the API down, and says so.

    Exits 4 if the API server does not answer or says that it is not ready.
    """
    from kops_toolkit.cluster.overview import status as ask
    from kops_toolkit.errors import UnreachableError

    found = ask(kt(ctx).clusters(), name)
    if output is Format.json:
        console.emit(as_json.dump(found.facts()))
    else:
        rows = [
            (node.name, node.role, node.state, node.ready, node.address or "-", node.version or "-")
            for node in found.nodes
        ]
        columns = ("NODE", "ROLE", "CONTAINER", "READY", "ADDRESS", "VERSION")
        console.data().print(as_table.rows(columns, rows))
        mark = "carries kt's mark" if found.ours else "was not made by kt"
        kt(ctx).progress.note(f"{found.name} {mark}; API server: {found.api}")
    if not found.healthy:
        raise UnreachableError(f"the API server of {found.name} is not ready: {found.api}")


@app.command()
def load(
    ctx: typer.Context,
    images: Annotated[list[str], typer.Argument(metavar="IMAGE…", help="As in `docker images`.")],
    name: NameOption = None,
) -> None:
    """Bring images onto all nodes that lack them, all nodes at the same time.

    What the engine lacks is pulled once. Nodes that have the very same image are left alone.

      kt cluster load registry.k8s.io/e2e-test-images/agnhost:2.66.1
    """
    from kops_toolkit.cluster.load import Loader

    wired = kt(ctx)
    clusters = wired.clusters()
    cluster = clusters.find(name)
    loaded = Loader(clusters.engine, wired.progress).load(cluster.nodes, images)
    for image, nodes in loaded.items():
        wired.progress.note(f"{image}: " + (", ".join(nodes) or "was on every node already"))


@app.command()
def kubeconfig(
    ctx: typer.Context,
    *,
    name: NameOption = None,
    path: Annotated[bool, typer.Option("--path", help="Print where it is instead.")] = False,
) -> None:
    """Print a cluster's admin kubeconfig, or its path.

    export KUBECONFIG=$(kt cluster kubeconfig --path)
    """
    found = kt(ctx).clusters().find(name).kubeconfig
    console.emit(str(found) if path else found.read_text(encoding="utf-8"))


@app.command(context_settings={"ignore_unknown_options": True})
def shell(
    ctx: typer.Context,
    node: Annotated[
        str, typer.Argument(help="A node; the cluster's name in front may be left out.")
    ],
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[-- COMMAND…]", help="Default: a shell.")
    ] = None,
    name: NameOption = None,
) -> None:
    """Run a command on a node as root, with your terminal; its exit code is kt's.

    kt cluster shell control-plane

    kt cluster shell worker2 -- journalctl -u kubelet --no-pager -n 50
    """
    from kops_toolkit.cluster.shell import argv

    found = kt(ctx).clusters().find(name).node(node)
    kt(ctx).processes.hand_over(argv(found, command or []))
