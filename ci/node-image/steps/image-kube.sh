give "$DEP_kube" kube-apiserver kube-controller-manager kube-scheduler kube-proxy
for c in kube-apiserver kube-controller-manager kube-scheduler; do
  name=I_${c//-/_}
  printf 'FROM scratch\nCOPY %s /usr/local/bin/%s\nENTRYPOINT ["/usr/local/bin/%s"]\n' $c $c $c | image "${!name}"
done
printf 'FROM %s\nCOPY kube-proxy /usr/local/bin/kube-proxy\nENTRYPOINT ["/usr/local/bin/kube-proxy"]\n' "$I_tools" | image "$I_kube_proxy"
