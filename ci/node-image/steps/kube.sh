# k8s.io/kubernetes replaces its staging modules by folders of its own tree, so their published twins are named here.
tree=$(module_folder "k8s.io/kubernetes@$V_kubernetes")
replaces=$(grep -oE 'k8s.io/[a-z0-9-]+ => ./staging' "$tree/go.mod" | awk '{print $1}' | sort -u | grep -v sample-c |
  while read -r m; do printf '\t%s => %s %s\n' "$m" "$m" "$V_staging"; done)
packages=(k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-proxy,kube-scheduler,kubeadm,kubectl,kubelet} k8s.io/kubernetes/test/images/agnhost)
own_module kube-build "k8s.io/kubernetes $V_kubernetes" "$replaces" "${packages[@]}"
echo 'godebug default=go1.26' >>go.mod
v=k8s.io/component-base/version minor=${V_kubernetes#v1.}
ld="-s -w -X $v.gitVersion=$V_kubernetes -X $v.gitMajor=1 -X $v.gitMinor=${minor%%.*} -X $v.gitTreeState=clean -X $v.gitCommit=module"
go build -trimpath -ldflags "$ld" -o "$OUT/" "${packages[@]}"
