# Debian's engine asks runc for every capability and fails where the host lacks one; this one asks for those it has.
go_install "github.com/moby/moby/v2/cmd/"{dockerd,docker-proxy}"@$V_moby"
