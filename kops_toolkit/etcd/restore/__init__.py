"""Takes a cluster's etcd back to a snapshot, and the old data back if that goes wrong."""
