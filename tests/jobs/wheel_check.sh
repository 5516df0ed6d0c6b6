#!/bin/bash
# Build the wheel, and run what it holds in an environment of its own, outside the checkout.
# Dependencies come from the environment of $PYTHON, geoseg itself from the wheel only: what the wheel
# forgets (settings, templates) cannot be found in the checkout. The wheel is left in dist/.
set -euo pipefail

checkout=$(cd "$(dirname "$0")/../.." && pwd)
python=$(cd "$checkout" && realpath --no-symlinks "${PYTHON:-.venv/bin/python}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset PYTHONPATH PYTHONHOME
export NO_ALBUMENTATIONS_UPDATE=1

"$python" -m pip wheel --quiet --disable-pip-version-check --no-deps -w "$work/dist" "$checkout"
wheel=$(ls "$work"/dist/geoseg-*.whl)

"$python" -m venv --without-pip "$work/venv"
geoseg=$work/venv/bin/python
"$python" -m pip --disable-pip-version-check --python "$geoseg" install --quiet --no-deps --no-index "$wheel"
# After the wheel, and without reading .pth files in it: one of an editable install would bring the
# checkout back.
site=$("$geoseg" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$site/dependencies.pth"

cd "$work"
"$geoseg" - "$checkout" <<'PYTHON'
import sys
from importlib import resources
from pathlib import Path

import geoseg
from geoseg.commands.conf import CONF

package = Path(geoseg.__file__).resolve().parent
checkout = Path(sys.argv[1]).resolve()
assert "site-packages" in package.parts and not package.is_relative_to(checkout), package
outside = [p for p in sys.path if p and Path(p).resolve() == checkout]
assert not outside, f"the checkout is on the path: {outside}"
assert Path(CONF).resolve() == package / "conf", CONF
for name in ("prepare", "train", "predict", "mosaic", "evaluate"):
    assert (CONF / f"{name}.yaml").is_file(), name
here = {str(p.relative_to(package)) for p in package.rglob("*") if p.is_file()}
wanted = {
    str(p.relative_to(checkout / "geoseg"))
    for p in (checkout / "geoseg").rglob("*")
    if p.is_file() and "__pycache__" not in p.parts
}
assert wanted <= here, f"missing in the wheel: {sorted(wanted - here)}"
assert resources.files("geoseg.evaluation").is_dir()
PYTHON

"$geoseg" -m geoseg.demo --help > help.txt
grep -q series_size help.txt
"$geoseg" -m geoseg.demo out=demo size=256 series=false
test -s demo/labels.gpkg
test -n "$(ls demo/scenes/*.tif)"

mkdir -p "$checkout/dist"
cp "$wheel" "$checkout/dist/"
echo "the wheel is whole: dist/$(basename "$wheel")"
