"""Check the QGIS plugin in real QGIS: run commands, meet errors, cancel a run, draw dialogs.

QT_QPA_PLATFORM=offscreen /usr/bin/python3 tests/jobs/qgis_tools.py GEOSEG MAPS [--dialogs FOLDER]
    [--predict RUN SCENE]

GEOSEG: the executable. MAPS: an output folder of geoseg.predict, which is joined by geoseg:mosaic.
RUN, SCENE: a trained network and an image, of which geoseg:predict makes a map.
Needs Debian's qgis and python3-qgis. Each check is a line; the exit status is 0 if all hold.
"""

import argparse
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
QGIS = Path(__file__).parents[2] / "qgis"
# Debian's wrapper hands over an option that qgis_process does not know.
PROCESS = "qgis_process.bin" if Path("/usr/bin/qgis_process.bin").exists() else "qgis_process"
MINUTES = 5 * 60
DRAWN = ("predict", "vectorize", "suggest", "refine")
failed = []


def say(what: str, holds: bool, got: object = "") -> None:
    print(f"{'ok  ' if holds else 'FAIL'} {what}" + ("" if holds else f": got {got}"), flush=True)
    if not holds:
        failed.append(what)


def process(profile: Path, executable: str, *words: str) -> "tuple[int, str]":
    """Status and output of qgis_process with the plugin."""
    own = {
        "QGIS_CUSTOM_CONFIG_PATH": str(profile),
        "QGIS_PLUGINPATH": str(QGIS),
        "GEOSEG_EXECUTABLE": executable,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [PROCESS, *words], env=os.environ | own, capture_output=True, timeout=MINUTES, check=False
    )
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def check_process(folder: Path, geoseg: str, maps: Path) -> None:
    """What a person meets who runs commands by qgis_process."""
    process(folder, geoseg, "plugins", "enable", "geoseg_tools")
    out = folder / "joined.tif"
    words = ("run", "geoseg:mosaic")
    status, said = process(folder, geoseg, *words, f"--maps={maps}", f"--out={out}")
    say("geoseg:mosaic writes its map", status == 0 and out.exists(), said)
    say("its style lies beside it", out.with_suffix(".qml").exists())
    say("messages of geoseg are passed on", "classes of the mosaic" in said, said)
    nowhere = str(folder / "nowhere")
    status, said = process(folder, geoseg, *words, f"--maps={nowhere}", f"--out={out}")
    fault = f"geoseg mosaic: {nowhere}: no such file or folder, and no maps match it"
    say("an error of geoseg is shown whole", status != 0 and fault in said, said)
    status, said = process(folder, nowhere, *words, f"--maps={maps}", f"--out={out}")
    fault = f"{nowhere} (from $GEOSEG_EXECUTABLE) does not exist"
    say("a missing executable is named", status != 0 and fault in said, said)
    other = script(folder / "other", "echo geoseg 99.0.0")
    status, said = process(folder, other, *words, f"--maps={maps}", f"--out={out}")
    say("another version is refused", status != 0 and "is version 99.0.0" in said, said)


def check_predict(folder: Path, geoseg: str, run: Path, scene: Path) -> None:
    """A network at work in QGIS: its map, and what is said of it."""
    out = folder / "predicted"
    words = ("run", "geoseg:predict", f"--checkpoint={run}", f"--scenes={scene}", f"--out={out}")
    status, said = process(folder, geoseg, *words)
    made = out / "landcover" / f"{scene.stem}.tif"
    say("geoseg:predict writes its map", status == 0 and made.exists(), said)
    say("names and colours lie beside it", made.with_suffix(".qml").exists())
    say("how many scenes are done is passed on", "1 scene done" in said, said)
    empty = folder / "empty"
    empty.mkdir()
    status, said = process(folder, geoseg, *words[:3], f"--scenes={empty}", words[-1])
    fault = f"{empty}: no rasters"
    say("a folder without scenes is said", status != 0 and fault in said, said)


def check_cancel(folder: Path, dialogs: "Path | None") -> None:
    """A run that is cancelled ends with the processes that it has started; then the dialogs."""
    sys.path[:0] = ["/usr/share/qgis/python/plugins", str(QGIS)]
    from qgis.core import QgsApplication, QgsProcessingContext, QgsProcessingFeedback, QgsProject

    application = QgsApplication([], True)
    application.initQgis()
    from geoseg_tools.provider import GeosegProvider
    from processing.core.Processing import Processing

    Processing.initialize()
    provider = GeosegProvider()
    QgsApplication.processingRegistry().addProvider(provider)
    marks = folder / "child"
    body = f"sleep 600 & echo $! > {marks}; echo 'a: done (1 of 4)'; wait"
    slow = f'if [ "$1" = --version ]; then echo geoseg {version()}; else {body}; fi'
    os.environ["GEOSEG_EXECUTABLE"] = script(folder / "slow", slow)
    algorithm = QgsApplication.processingRegistry().createAlgorithmById("geoseg:train")
    feedback = QgsProcessingFeedback()
    told = []
    feedback.progressChanged.connect(told.append)
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())

    def cancel():
        for _ in range(600):
            if marks.exists() and marks.read_text().strip():
                break
            time.sleep(0.1)
        time.sleep(0.5)
        feedback.cancel()

    threading.Thread(target=cancel, daemon=True).start()
    start = time.monotonic()
    algorithm.run({"dataset": str(folder), "run": str(folder / "run")}, context, feedback)
    say("a cancelled run ends at once", time.monotonic() - start < 60)
    say("it is said", "cancelled" in feedback.textLog(), feedback.textLog())
    say("progress is told", 25.0 in told, told)
    child = int(marks.read_text())
    time.sleep(0.5)
    state = Path(f"/proc/{child}/stat")
    ended = not state.exists() or state.read_text().split()[2] == "Z"
    say("the processes that it has started ended too", ended, child)
    for name in DRAWN if dialogs else ():
        draw(name, dialogs / f"qgis_{name}.png")


def draw(name: str, path: Path) -> None:
    """Picture of the parameters of a command."""
    from processing.gui.ParametersPanel import ParametersPanel
    from qgis.core import QgsApplication
    from qgis.gui import QgsMessageBar
    from qgis.PyQt.QtWidgets import QDialog, QLabel, QVBoxLayout

    class Window(QDialog):
        """What the panel asks of its dialog."""

        def messageBar(self):  # noqa: N802
            return QgsMessageBar(self)

    algorithm = QgsApplication.processingRegistry().createAlgorithmById(f"geoseg:{name}")
    window = Window()
    layout = QVBoxLayout(window)
    layout.addWidget(QLabel(f"<b>geoseg · {algorithm.displayName()}</b>"))
    layout.addWidget(ParametersPanel(window, algorithm))
    window.resize(860, 560)
    window.show()
    QgsApplication.processEvents()
    path.parent.mkdir(parents=True, exist_ok=True)
    say(f"the dialog of {name} is drawn", window.grab().save(str(path)))


def version() -> str:
    import json

    return json.loads((QGIS / "geoseg_tools" / "commands.json").read_text("utf-8"))["version"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("geoseg")
    parser.add_argument("maps", type=Path)
    parser.add_argument("--dialogs", type=Path)
    parser.add_argument("--predict", nargs=2, type=Path, metavar=("RUN", "SCENE"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        check_process(Path(folder), os.path.abspath(given.geoseg), given.maps.absolute())
        if given.predict:
            run, scene = (path.absolute() for path in given.predict)
            check_predict(Path(folder), os.path.abspath(given.geoseg), run, scene)
        check_cancel(Path(folder), given.dialogs)
    print(f"{len(failed)} checks failed" if failed else "the plugin works in QGIS")
    return 1 if failed else 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # QGIS may crash while Python takes it apart
