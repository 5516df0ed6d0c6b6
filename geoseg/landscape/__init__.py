"""A made-up countryside for the demo: what lies where, what it looks like, a camera over it.

`countryside.make` plans it as geometries, `paint.paint` gives a window of it colours and heights,
`camera.photograph` adds sun, air and sensor. Only numpy, scipy and shapely; no files.
"""
