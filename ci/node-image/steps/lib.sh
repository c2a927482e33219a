# What the steps share. The driver sets OUT (a folder to fill), KEY, V_<version>, I_<image> and
# DEP_<step> (folders with what the steps before made).
set -euo pipefail
export CGO_ENABLED=0 DOCKER_BUILDKIT=0
STATIC=(-trimpath -ldflags "-s -w")

# go_install PACKAGE@VERSION…: for modules without replace directives.
go_install() { GOBIN=$OUT go install "${STATIC[@]}" "$@"; }

module_folder() { go mod download -json "$1" | python3 -c 'import json,sys; print(json.load(sys.stdin)["Dir"])'; }

# own_module NAME REQUIREMENTS REPLACES PACKAGE…: a go.mod of our own in a fresh folder, for
# modules that `go install` refuses. Leaves us in that folder.
own_module() {
  local name=$1 requires=$2 replaces=$3 package; shift 3
  mkdir -p "$OUT/.module"; cd "$OUT/.module"
  printf 'module %s\n\ngo 1.26.0\n\nrequire (\n%s\n)\n\nreplace (\n%s\n)\n' "$name" "$requires" "$replaces" >go.mod
  { printf '//go:build tools\n\npackage tools\n\nimport (\n'; for package; do printf '\t_ "%s"\n' "$package"; done; printf ')\n'; } >tools.go
  go mod tidy -e >/dev/null 2>&1 || true   # some test-only imports are not served; the build tells if it matters
}

# image NAME: docker build of the Dockerfile on stdin, with OUT as context.
image() { docker build -q --label "io.kops-toolkit.build-key=$KEY" -t "$1" -f - "$OUT" >/dev/null; }

give() { local from=$1; shift; for f; do ln -f "$from/$f" "$OUT/" 2>/dev/null || cp -f "$from/$f" "$OUT/"; done; }
