# Shared by the scripts beside it: makes ready what is missing, and says what it does on stderr.
# Source it; it changes to the project's root and puts what it makes ready on PATH.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$PWD
export KT_BUILD_DIR=${KT_BUILD_DIR:-$([ -w /var/cache ] && echo /var/cache/kt-build || echo "${XDG_CACHE_HOME:-$HOME/.cache}/kt-build")}
export PATH=$ROOT/.venv/bin:$KT_BUILD_DIR/bin:$PATH

say() { printf '== %s\n' "$*" >&2; }
die() { printf 'error: %s\nhint:  %s\n' "$1" "$2" >&2; exit 3; }

# uv from PATH, else from PyPI into a folder of its own, so that nobody's Python is touched.
ready_uv() {
  command -v uv >/dev/null && return
  if [ ! -x "$KT_BUILD_DIR/uv/bin/uv" ]; then
    say "installing uv from PyPI"
    command -v python3 >/dev/null || die "there is no python3 to install uv with" "install Python 3.11 or newer, or uv"
    rm -rf "$KT_BUILD_DIR/uv" && mkdir -p "$KT_BUILD_DIR/uv"
    python3 -m pip install -q --root-user-action ignore --target "$KT_BUILD_DIR/uv" uv
  fi
  export PATH=$KT_BUILD_DIR/uv/bin:$PATH
}

# The virtual environment, exactly as requirements.lock says.
ready_python() {
  ready_uv
  local want have=.venv/.ready
  want=$(cat requirements.lock pyproject.toml kops_toolkit/__init__.py | sha256sum)
  [ -f "$have" ] && [ "$(cat "$have")" = "$want" ] && return
  say "installing the locked Python packages"
  [ -x .venv/bin/python ] || uv venv -q --python '>=3.11' .venv
  uv pip sync -q --require-hashes requirements.lock
  uv pip install -q --no-deps -e .
  echo "$want" >"$have"
}

# An engine, kind and images: pulled where a registry answers, built from package registries where none does.
ready_engine() {
  if docker info >/dev/null 2>&1 && command -v kind >/dev/null && has_node_image; then
    say "engine, kind and node image are here"
  elif docker info >/dev/null 2>&1 && registry_answers; then
    say "a registry answers: images will be pulled under their public names"
    ci/kind
  else
    if ! docker info >/dev/null 2>&1 && { [ "$(id -u)" != 0 ] || ! command -v go >/dev/null; }; then
      die "no container engine answers" "install or start Docker; building an engine instead needs root and Go"
    fi
    say "no engine with a registry answers: building engine, kind and images from package registries"
    ci/node-image/build
  fi
}

has_node_image() { [ -n "$(docker images -q --filter label=io.kops-toolkit.node-image)" ]; }

# Asks the engine, not the network: its proxy and mirrors are what a pull will use. Tried once.
registry_answers() {
  say "trying a registry (at most 20 s)"
  timeout 20 docker pull -q docker.io/library/hello-world >/dev/null 2>&1 || docker image inspect kindest/node >/dev/null 2>&1
}

# What a several-node cluster needs of the kernel; `kt doctor` tells the rest.
ready_host() { kt doctor --fix >/dev/null || kt doctor; }

# So that `source .venv/bin/activate` is all a person needs: kt finds kind on PATH.
ready_links() {
  local program
  for program in kind kubectl; do
    [ ! -x "$KT_BUILD_DIR/bin/$program" ] || ln -sf "$KT_BUILD_DIR/bin/$program" .venv/bin/
  done
}

ready() { ready_python; ready_engine; ready_links; ready_host; }
