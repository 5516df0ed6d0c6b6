"""Offer the commands of geoseg as algorithms, and keep where the executable is."""

import json
import os

from processing.core.ProcessingConfig import ProcessingConfig, Setting
from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .algorithm import CommandAlgorithm
from .executable import SETTING

HERE = os.path.dirname(__file__)


def read_commands():
    """What build.py wrote of geoseg's commands."""
    with open(os.path.join(HERE, "commands.json"), encoding="utf-8") as file:
        return json.load(file)


class GeosegProvider(QgsProcessingProvider):
    def load(self):
        ProcessingConfig.settingIcons[self.name()] = self.icon()
        ProcessingConfig.addSetting(
            Setting(
                self.name(),
                SETTING,
                "Executable of geoseg; empty = looked for in the usual environments",
                "",
                valuetype=Setting.STRING,
            )
        )
        ProcessingConfig.readSettings()
        self.refreshAlgorithms()
        return True

    def unload(self):
        ProcessingConfig.removeSetting(SETTING)

    def loadAlgorithms(self):
        found = read_commands()
        for name, command in found["commands"].items():
            self.addAlgorithm(CommandAlgorithm(name, command, found["version"]))

    def id(self):
        return "geoseg"

    def name(self):
        return "geoseg"

    def longName(self):
        return "geoseg: land-cover maps"

    def icon(self):
        return QIcon(os.path.join(HERE, "icon.svg"))
