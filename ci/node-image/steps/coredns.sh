go_install "github.com/coredns/coredns@$V_coredns"
