go_install "sigs.k8s.io/kind@$V_kind"
