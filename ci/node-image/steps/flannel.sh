# One cloud backend's SDK is not served: vendored, with that package emptied. Its udp backend needs cgo.
own_module flannel-build "github.com/flannel-io/flannel $V_flannel" "" github.com/flannel-io/flannel
rm -rf vendor; go mod vendor -e >/dev/null 2>&1
rm -f vendor/github.com/flannel-io/flannel/pkg/backend/tencentvpc/*.go
echo 'package tencentvpc' >vendor/github.com/flannel-io/flannel/pkg/backend/tencentvpc/empty.go
CGO_ENABLED=1 go build -mod=vendor "${STATIC[@]}" -o "$OUT/flanneld" github.com/flannel-io/flannel
