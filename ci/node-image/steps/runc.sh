CGO_ENABLED=1 go_install -tags seccomp "github.com/opencontainers/runc@$V_runc"
