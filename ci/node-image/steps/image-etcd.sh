give "$DEP_etcd" etcd etcdctl etcdutl
printf 'FROM scratch\nCOPY etcd etcdctl etcdutl /usr/local/bin/\nCMD ["/usr/local/bin/etcd"]\n' | image "$I_etcd"
