# `kind build node-image` insists on pulling kindnetd and reads only the first image of an archive, so its steps are done here.
kind_tree=$(module_folder "sigs.k8s.io/kind@$V_kind") flannel_tree=$(module_folder "github.com/flannel-io/flannel@$V_flannel")
python3 - "$kind_tree" "$flannel_tree" "$OUT" <<'PY'
import os, pathlib, sys
kind, flannel, out = map(pathlib.Path, sys.argv[1:])
source = (kind / "pkg/build/nodeimage/const_storage.go").read_text()
begin = "const defaultStorageManifest = `"
body = source[source.index(begin) + len(begin):]
body = body[: body.rindex("`")]
for name, image in (("storageProvisionerImage", "I_local_path"), ("storageHelperImage", "I_local_path_helper")):
    body = body.replace("` + " + name + " + `", os.environ[image])
assert "`" not in body, "kind builds its storage manifest in another way now"
(out / "default-storage.yaml").write_text(body)
cni = (flannel / "Documentation/kube-flannel.yml").read_text()
plugin = next(line for line in cni.splitlines() if "flannel-cni-plugin:" in line).split("image: ")[1]
for old, new in (("10.244.0.0/16", "{{ .PodSubnet }}"), ('"cniVersion": "1.0.0"', '"cniVersion": "0.3.1"'),
                 (plugin, os.environ["I_flannel_cni"]), ("- /opt/bin/install-conf", "- cp\n        - -f")):
    assert old in cni, f"flannel's manifest has no {old} any more"
    cni = cni.replace(old, new)
# kind fills in a manifest only if it says so in these words
(out / "default-cni.yaml").write_text("# would you kindly template this file\n" + cni)
PY
box=kt-node-build; docker rm -f $box >/dev/null 2>&1 || true; trap 'docker rm -f $box >/dev/null 2>&1 || true' EXIT
docker run -d --name $box --privileged --security-opt seccomp=unconfined --entrypoint sleep "$I_base" infinity >/dev/null
for x in kubeadm kubelet kubectl; do docker cp -q "$DEP_kube/$x" $box:/usr/bin/$x; done
docker exec $box sh -c "chmod 755 /usr/bin/kube*; chown root:root /usr/bin/kube*; mkdir -p /kind/manifests; printf $V_kubernetes >/kind/version"
for x in default-cni default-storage; do docker cp -q "$OUT/$x.yaml" $box:/kind/manifests/$x.yaml; done
docker exec -d $box containerd
for _ in $(seq 60); do docker exec $box ctr version >/dev/null 2>&1 && break; sleep 0.5; done
docker save "$I_kube_apiserver" "$I_kube_controller_manager" "$I_kube_scheduler" "$I_kube_proxy" "$I_etcd" "$I_coredns" "$I_pause" "$I_sandbox" \
    "$I_flannel" "$I_flannel_cni" "$I_local_path" "$I_local_path_helper" "$I_agnhost" |
  docker exec -i $box ctr -n k8s.io images import --label=io.cri-containerd.pinned=pinned --all-platforms --no-unpack --digests - >/dev/null
docker exec $box pkill containerd; sleep 1
docker commit --change 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]' \
  --change "LABEL io.kops-toolkit.node-image=$V_kubernetes io.kops-toolkit.build-key=$KEY" $box "$I_node" >/dev/null
