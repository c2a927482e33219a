go_install "github.com/rancher/local-path-provisioner@$V_local_path"
