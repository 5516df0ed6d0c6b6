"""Let QGIS call geoseg: a provider of Processing algorithms, one for each command."""


def classFactory(iface):
    from .plugin import GeosegPlugin

    return GeosegPlugin(iface)
