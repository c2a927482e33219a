go_install -tags "no_aufs no_zfs no_btrfs no_devmapper" "github.com/containerd/containerd/v2/cmd/"{containerd,ctr,containerd-shim-runc-v2}"@$V_containerd"
