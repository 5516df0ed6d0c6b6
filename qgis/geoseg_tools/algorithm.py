"""A command of geoseg as an algorithm of Processing."""

import os
import re
import shlex

from qgis.core import (
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingException,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorDestination,
    QgsProcessingParameterVectorLayer,
    QgsSettings,
)
from qgis.PyQt.QtGui import QIcon

from . import executable, results, runner

MORE = "more"
"""Parameter for keys that no parameter has, as entries of dictionaries."""
MORE_HELP = "Further words of the command line, as key=value key=value"
PATHS = ("folder", "file", "raster", "vector")
ICON = os.path.join(os.path.dirname(__file__), "icon.svg")


class CommandAlgorithm(QgsProcessingAlgorithm):
    """Runs `geoseg <command> key=value …`, and loads what it writes."""

    def __init__(self, name, command, version):
        super().__init__()
        self._name, self._command, self._version = name, command, version
        self._words, self._folder, self._made = [], "", {}

    def createInstance(self):
        return CommandAlgorithm(self._name, self._command, self._version)

    def name(self):
        return self._name

    def displayName(self):
        return self._name

    def group(self):
        return self._command["group"]

    def groupId(self):
        return re.sub(r"\W+", "_", self.group().lower())

    def icon(self):
        return QIcon(ICON)

    def tags(self):
        return ["geoseg", "land cover", "segmentation", "classification"]

    def shortDescription(self):
        return self._command["summary"]

    def shortHelpString(self):
        shown = [p for p in self._command["parameters"] if p["usual"]]
        rows = "".join(f"<p><b>{p['name']}</b>: {_html(p['help'])}</p>" for p in shown)
        purpose = _html(self._command["purpose"])
        same = f"<p>The same on the command line: <code>geoseg {self._name}</code></p>"
        return f"<p>{purpose}</p>{rows}{same}"

    def initAlgorithm(self, configuration=None):
        for spec in self._command["parameters"]:
            self.addParameter(_parameter(spec))
        more = QgsProcessingParameterString(MORE, MORE_HELP, optional=True)
        more.setHelp(MORE_HELP + ", as they would be typed in a terminal.")
        more.setFlags(more.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
        self.addParameter(more)

    def prepareAlgorithm(self, parameters, context, feedback):
        """Put the command line together: what needs the project is asked for here."""
        home = context.project().homePath() if context.project() else ""
        self._folder = home or os.getcwd()
        try:
            given = QgsSettings().value(
                "Processing/Configuration/" + executable.SETTING, "", type=str
            )
            path = executable.find(given, home)
            version = executable.check_version(path, self._version)
        except executable.ExecutableError as error:
            raise QgsProcessingException(str(error)) from None
        feedback.pushInfo(f"geoseg {version}: {path}")
        words = []
        # Ready-made settings come first: keys that are given besides change them.
        specs = sorted(self._command["parameters"], key=lambda spec: spec["kind"] != "choice")
        for spec in specs:
            value = self._value(spec, parameters, context)
            if value is not None:
                words.append(f"{spec['name']}={value}")
        try:
            words += shlex.split(self.parameterAsString(parameters, MORE, context))
        except ValueError as error:
            raise QgsProcessingException(f"{MORE}: {error}") from None
        self._words = [path, self._name, *words]
        return True

    def processAlgorithm(self, parameters, context, feedback):
        feedback.pushCommandInfo(" ".join(map(shlex.quote, self._words)))
        try:
            runner.run(
                self._words,
                self._folder,
                say=feedback.pushConsoleInfo,
                warn=feedback.pushWarning,
                progress=feedback.setProgress,
                cancelled=feedback.isCanceled,
            )
        except runner.CommandError as error:
            raise QgsProcessingException(str(error)) from None
        except runner.CancelledError:
            again = "goes on from here" if self._command["goes_on"] else "begins anew"
            feedback.reportError(f"geoseg {self._name}: cancelled; the same command {again}")
            return {}
        except OSError as error:
            raise QgsProcessingException(
                f"geoseg: {self._words[0]} cannot be started: {error}"
            ) from None
        for name, (kind, path) in self._made.items():
            self._show(name, kind, path, context, feedback)
        return {name: path for name, (_, path) in self._made.items()}

    def _show(self, name, kind, path, context, feedback):
        """Have QGIS load what was written."""
        if kind in ("out_raster", "out_vector"):
            results.style(path, context)
        elif kind == "out_folder":
            sources, left_out = results.layers_of(self._name, path)
            for source in sources:
                results.load(source, context, name)
            for pattern, count in left_out.items():
                feedback.pushInfo(
                    f"{pattern}: the first {results.MOST} are loaded, {count} more lie in {path}"
                )

    def _value(self, spec, parameters, context):
        """The value of a key as it is typed on the command line; None = not given."""
        name, kind = spec["name"], spec["kind"]
        if kind.startswith("out"):
            layer = kind in ("out_raster", "out_vector")
            read = self.parameterAsOutputLayer if layer else self.parameterAsFileOutput
            path = read(parameters, name, context)
            self._made[name] = (kind, self._whole(path))
            return self._whole(path)
        if parameters.get(name) is None or parameters.get(name) == "":
            return None
        if kind == "bool":
            value = self.parameterAsBool(parameters, name, context)
            return None if value == spec["default"] else str(value).lower()
        if kind == "int":
            value = self.parameterAsInt(parameters, name, context)
            return None if value == spec["default"] else str(value)
        if kind == "float":
            value = self.parameterAsDouble(parameters, name, context)
            return None if value == spec["default"] else repr(value)
        if kind == "choice":
            return self.parameterAsEnumString(parameters, name, context) or None
        if kind in ("raster", "vector"):
            return self._source(spec, parameters, context)
        text = self.parameterAsString(parameters, name, context)
        if not text or text == spec["default"]:
            return None
        if kind == "list" and not text.startswith(("[", "{")):
            return f"[{text}]"  # as a person types it who sees no command line
        if name == "model.weights" and re.fullmatch(r"\w+", text):
            whole = self._whole(text)  # or the name of published weights, or null
            return whole if os.path.exists(whole) else text
        return self._whole(text) if kind in PATHS else text

    def _source(self, spec, parameters, context):
        """The file of a layer."""
        name = spec["name"]
        raster = spec["kind"] == "raster"
        read = self.parameterAsRasterLayer if raster else self.parameterAsVectorLayer
        layer = read(parameters, name, context)
        if layer is None:
            raise QgsProcessingException(f"{name}={parameters[name]}: cannot be opened as a layer")
        if layer.dataProvider().name() not in ("gdal", "ogr"):
            raise QgsProcessingException(
                f"{name}: {layer.name()} is a layer of {layer.dataProvider().name()}, not of a"
                " file; save it as a file first"
            )
        return self._whole(layer.source().partition("|")[0])

    def _whole(self, path):
        """A path as geoseg sees it from anywhere; lists and addresses stay as they are."""
        path = os.path.expanduser(path)
        if not path or path.startswith(("[", "/vsi")) or "://" in path:
            return path
        return os.path.normpath(os.path.join(self._folder, path))


def _html(text):
    """Help as HTML: `code` is set apart."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text)


def _parameter(spec):
    """The parameter of Processing for a key."""
    made = _MAKERS[spec["kind"]](spec, (spec["name"], spec["label"]), not spec["required"])
    made.setHelp(spec["help"])
    if not spec["usual"]:
        made.setFlags(made.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
    return made


def _number(spec, names, optional):
    whole = spec["kind"] == "int"
    kind = QgsProcessingParameterNumber.Integer if whole else QgsProcessingParameterNumber.Double
    return QgsProcessingParameterNumber(
        *names,
        type=kind,
        defaultValue=spec["default"],
        optional=optional or spec["default"] is None,
    )


_MAKERS = {
    "bool": lambda spec, names, optional: QgsProcessingParameterBoolean(
        *names, defaultValue=spec["default"], optional=optional
    ),
    "int": _number,
    "float": _number,
    "text": lambda spec, names, optional: QgsProcessingParameterString(
        *names, defaultValue=spec["default"], optional=optional
    ),
    "list": lambda spec, names, optional: QgsProcessingParameterString(
        *names, defaultValue=spec["default"], optional=optional
    ),
    "choice": lambda spec, names, optional: QgsProcessingParameterEnum(
        *names, options=spec["choices"], usesStaticStrings=True, optional=True
    ),
    "folder": lambda spec, names, optional: QgsProcessingParameterFile(
        *names, behavior=QgsProcessingParameterFile.Folder, optional=optional
    ),
    "file": lambda spec, names, optional: QgsProcessingParameterFile(*names, optional=optional),
    "raster": lambda spec, names, optional: QgsProcessingParameterRasterLayer(
        *names, optional=optional
    ),
    "vector": lambda spec, names, optional: QgsProcessingParameterVectorLayer(
        *names, types=[QgsProcessing.TypeVectorPoint], optional=optional
    ),
    "out_folder": lambda spec, names, optional: QgsProcessingParameterFolderDestination(*names),
    "out_raster": lambda spec, names, optional: QgsProcessingParameterRasterDestination(*names),
    "out_vector": lambda spec, names, optional: QgsProcessingParameterVectorDestination(*names),
    "out_weights": lambda spec, names, optional: QgsProcessingParameterFileDestination(
        *names, fileFilter="weights (*.safetensors)"
    ),
}
