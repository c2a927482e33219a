"""etcd: members, snapshots, verification and restore."""
