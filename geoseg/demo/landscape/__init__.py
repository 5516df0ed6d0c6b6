"""Model a countryside, its seasons, and a camera over it.

`countryside.make` plans it as geometries, `paint.paint` gives a window of it colours and heights,
`camera.photograph` adds sun, air and sensor. For a series, `farmland.make` plans a larger tile,
`year.make` lets it grow, `year.ground` shows it on a day, and `sky` adds clouds. Only numpy,
scipy and shapely; no files.
"""
