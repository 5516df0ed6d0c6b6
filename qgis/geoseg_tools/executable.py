"""Find the executable of geoseg, which lives in an environment outside of QGIS.

Plain Python, without QGIS, so that it can be tested without.
"""

import glob
import os
import re
import shutil
import subprocess
import sys

SETTING = "GEOSEG_EXECUTABLE"
"""Name of the setting in QGIS, and of a variable of the environment."""
SECONDS = 60
"""That `geoseg --version` may take: the first start after an installation is slow."""
HIDDEN = 0x08000000 if sys.platform == "win32" else 0
"""No window for a console program on Windows."""
FOREIGN = (
    *("PYTHONHOME", "PYTHONPATH", "PYTHONNOUSERSITE", "PYTHONSTARTUP", "PYTHONEXECUTABLE"),
    *("GDAL_DATA", "GDAL_DRIVER_PATH", "PROJ_LIB", "PROJ_DATA", "GEOTIFF_CSV"),
    *("QT_PLUGIN_PATH", "QGIS_PREFIX_PATH", "__PYVENV_LAUNCHER__"),
)
"""Variables by which QGIS leads programs to its own Python, GDAL and PROJ."""
_versions = {}
"""By path and time of the file: what it said."""


class ExecutableError(Exception):
    """What is wrong with the executable, as a sentence for people."""


def environment():
    """Variables for geoseg: those of QGIS that lead to libraries of its own are left out."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    kept.update(
        {
            "PYTHONIOENCODING": "utf-8",
            "PYTHONUTF8": "1",
            "PYTHONUNBUFFERED": "1",  # messages come when they are said
            "COLUMNS": "110",
            "GEOSEG_PROGRESS": "lines",
        }
    )
    return kept


def find(given="", near=""):
    """The executable: what the settings say, else the first one of the usual places.

    given: path of the settings, or of an environment's folder. near: folder of the project.
    Raises: ExecutableError if there is none.
    """
    for said, where in ((given, "the settings"), (os.environ.get(SETTING, ""), f"${SETTING}")):
        if said:
            return _named(os.path.expanduser(said.strip()), where)
    for path in candidates(near):
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise ExecutableError(
        "geoseg: the executable cannot be found, neither on the PATH nor in the usual"
        " environments; install geoseg in an environment of its own (not inside QGIS), and give"
        " its path in Settings > Options > Processing > Providers > geoseg, as"
        " /home/me/geoseg/.venv/bin/geoseg"
    )


def _named(path, where):
    if os.path.isdir(path):
        inside = [os.path.join(path, *parts) for parts in _INSIDE]
        path_ = next((p for p in inside if os.path.isfile(p)), None)
        if path_ is None:
            raise ExecutableError(
                f"geoseg: {path} (from {where}) is a folder without geoseg; give the executable"
                " itself, or the folder of the environment that it is installed in"
            )
        return path_
    if not os.path.isfile(path):
        raise ExecutableError(
            f"geoseg: {path} (from {where}) does not exist; correct it in Settings > Options >"
            " Processing > Providers > geoseg, or leave it empty to have it looked for"
        )
    if not os.access(path, os.X_OK):
        raise ExecutableError(
            f"geoseg: {path} (from {where}) may not be executed; give the executable of geoseg"
        )
    return path


if sys.platform == "win32":
    _INSIDE = (("Scripts", "geoseg.exe"), ("geoseg.exe",))
else:
    _INSIDE = (("bin", "geoseg"), ("geoseg",))
_VENVS = (".venv", "venv", "env")


def candidates(near=""):
    """Where an executable may be, the likeliest first."""
    home = os.path.expanduser("~")
    inside = _INSIDE[0]
    found = []
    for folder in (near, os.path.join(home, "geoseg"), home):
        if folder:
            found += [os.path.join(folder, venv, *inside) for venv in _VENVS]
    on_path = shutil.which("geoseg")
    if on_path:
        found.insert(0, on_path)
    found.append(os.path.join(home, ".local", "bin", os.path.basename(inside[-1])))
    found += [os.path.join(env, *inside) for env in _conda_environments(home)]
    patterns = (
        (home, "*", ".venv"),
        (home, ".virtualenvs", "*"),
        (home, ".pyenv", "versions", "*"),
        (home, ".local", "share", "virtualenvs", "*"),
        (home, ".local", "share", "uv", "tools", "geoseg"),
        (home, ".local", "share", "pipx", "venvs", "geoseg"),
        (home, ".local", "pipx", "venvs", "geoseg"),
    )
    for pattern in patterns:
        found += sorted(glob.glob(os.path.join(*pattern, *inside)))
    return list(dict.fromkeys(found))


def _conda_environments(home):
    """Folders of conda's, mamba's and micromamba's environments; conda keeps a list."""
    found = []
    try:
        with open(os.path.join(home, ".conda", "environments.txt"), encoding="utf-8") as file:
            found += [line.strip() for line in file if line.strip()]
    except OSError:
        pass  # no conda
    roots = [home, os.environ.get("LOCALAPPDATA", ""), "/opt", os.environ.get("PROGRAMDATA", "")]
    kinds = ("miniconda3", "miniforge3", "mambaforge", "anaconda3", "micromamba", "conda")
    for root in filter(None, roots):
        for kind in kinds:
            found += sorted(glob.glob(os.path.join(root, kind, "envs", "*")))
            found.append(os.path.join(root, kind))
    return found


def version(path):
    """What version an executable is. Raises: ExecutableError if it isn't geoseg."""
    key = (path, os.path.getmtime(path))
    if key not in _versions:
        try:
            done = subprocess.run(
                [path, "--version"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=SECONDS,
                env=environment(),
                creationflags=HIDDEN,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ExecutableError(f"geoseg: {path} cannot be started: {error}") from None
        said = done.stdout.decode("utf-8", "replace").strip()
        match = re.search(r"^geoseg (\d+\.\d+\S*)$", said, re.M)
        if done.returncode or not match:
            raise ExecutableError(
                f"geoseg: {path} is not a working geoseg: with --version it ended with status"
                f" {done.returncode} and said: {said or 'nothing'}"
            )
        _versions[key] = match.group(1)
    return _versions[key]


def check_version(path, expected):
    """Raises: ExecutableError if the executable has other keys than this plugin knows."""
    got = version(path)
    if got.split(".")[:2] != expected.split(".")[:2]:
        raise ExecutableError(
            f"geoseg: {path} is version {got}, this plugin is made for {expected}; install the"
            " plugin that belongs to it (make qgis in its source), or give another executable in"
            " Settings > Options > Processing > Providers > geoseg"
        )
    return got
