go_install "github.com/containernetworking/plugins/plugins/"{main/bridge,main/ptp,main/loopback,ipam/host-local,meta/portmap}"@$V_cni"
go_install "github.com/containernetworking/plugins/plugins/meta/flannel@$V_flannel_cni"
