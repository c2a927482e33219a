modules=(go.etcd.io/etcd/{server,etcdctl,etcdutl}/v3)
own_module etcd-build "$(printf "\t%s $V_etcd\n" "${modules[@]}")" "" "${modules[@]}"
go build "${STATIC[@]}" -o "$OUT/" "${modules[@]}"
mv "$OUT/server" "$OUT/etcd"
