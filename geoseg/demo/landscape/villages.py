"""Villages where roads meet, houses along their roads and side streets, farms outside."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import shapely
from shapely.geometry import LineString, Point, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from geoseg.demo.landscape.land import Body, Floats, House, Landscape, Road, blob

ROOFS = ("red",) * 4 + ("orange",) * 3 + ("brown",) * 2 + ("slate",) * 2 + ("anthracite",)
"""Each as often as it is seen."""


@dataclass
class Site:
    """Where one may build, and by what chance."""

    keepout: BaseGeometry
    """Roads and water with their margins."""
    rng: np.random.Generator
    taken: list[BaseGeometry] = field(default_factory=list)
    """What stands already."""


def settle(land: Landscape, rng: np.random.Generator) -> None:
    """Villages where roads meet, houses along their roads and side streets, farms outside."""
    wet = unary_union([shape.buffer(9) for _, shape in land.waters])
    centres = _junctions(land, rng)
    reach = min(1.0, math.sqrt(land.width * land.height / 2.0e6))
    for number, centre in enumerate(centres):
        radius = reach * (rng.uniform(140, 200) if number % 3 else rng.uniform(190, 250))
        village = blob(centre, max(radius, 55.0), rng, 0.3).difference(wet)
        if village.geom_type == "MultiPolygon":
            village = max(village.geoms, key=lambda part: part.area)
        land.villages.append(village)
        _streets(land, village, rng)
    streets = [road for road in land.roads if road.kind != "track"]
    keepout = unary_union([road.line.buffer(road.width_m / 2 + 2) for road in land.roads] + [wet])
    shapely.prepare(keepout)
    site = Site(keepout, rng)
    for village in land.villages:
        for road in streets:
            inside = road.line.intersection(village)
            for line in getattr(inside, "geoms", [inside]):
                if line.geom_type == "LineString" and line.length > 20:
                    _row(land, line, road.width_m, site)
    land.villages = _gardens(land)
    _farms(land, streets, site)
    _traffic(land, rng)


def _gardens(land: Landscape) -> list[Polygon]:
    """What became of the villages: the ground around their houses, without holes."""
    around = [house.outline.buffer(17, join_style="mitre") for house in land.houses]
    around += [plot for plot, _ in land.plots]
    grown = unary_union(around).buffer(14, join_style="mitre").buffer(-13, join_style="mitre")
    grown = grown.difference(unary_union([shape.buffer(4) for _, shape in land.waters]))
    parts = [part for part in getattr(grown, "geoms", [grown]) if part.area > 100]
    return [Polygon(part.exterior) if part.area > 400 else part for part in parts]


def _junctions(land: Landscape, rng: np.random.Generator) -> list[Floats]:
    """Ends of main and minor roads, which are where they meet others, spaced out."""
    ends = [
        np.array(road.line.coords[end])
        for road in land.roads
        if road.kind in ("main", "minor")
        for end in (0, -1)
    ]
    inside = [p for p in ends if 0 < p[0] < land.width and 0 < p[1] < land.height]
    inside = inside or [np.array([land.width, land.height]) * 0.4]
    rng.shuffle(inside)
    spacing = min(330.0, 0.2 * (land.width + land.height))
    chosen: list[Floats] = []
    for point in inside:
        if all(np.hypot(*(point - other)) > spacing for other in chosen):
            chosen.append(point)
    return chosen


def _streets(land: Landscape, village: Polygon, rng: np.random.Generator) -> None:
    """Side streets, off the village's roads at about a right angle."""
    for road in [road for road in land.roads if road.kind in ("main", "minor")]:
        inside = road.line.intersection(village)
        if inside.geom_type != "LineString" or inside.length < 60:
            continue
        for at in np.arange(rng.uniform(20, 50), inside.length, rng.uniform(40, 60)):
            point, ahead = inside.interpolate(at), inside.interpolate(at + 1)
            angle = math.atan2(ahead.y - point.y, ahead.x - point.x)
            angle += rng.choice((-1, 1)) * math.pi / 2 + rng.normal(0, 0.12)
            reach = rng.uniform(60, 130)
            bend = angle + rng.normal(0, 0.35)
            middle = (point.x + reach / 2 * math.cos(angle), point.y + reach / 2 * math.sin(angle))
            end = (middle[0] + reach / 2 * math.cos(bend), middle[1] + reach / 2 * math.sin(bend))
            street = LineString([point.coords[0], middle, end])
            others = [r.line for r in land.roads if r.line.distance(street) < 22]
            free = all(r.intersection(street.buffer(20)).length < 60 for r in others)
            dry = all(not shape.intersects(street.buffer(12)) for _, shape in land.waters)
            if village.contains(Point(end)) and free and dry:
                land.roads.append(Road(street, "street"))


def _row(
    land: Landscape,
    line: LineString,
    road_width: float,
    site: Site,
) -> None:
    """Houses on both sides of a road."""
    rng = site.rng
    for side in (-1, 1):
        at = rng.uniform(6, 14)
        while at < line.length - 5:
            point, ahead = line.interpolate(at), line.interpolate(min(line.length, at + 2))
            angle = math.atan2(ahead.y - point.y, ahead.x - point.x) if at + 1 < line.length else 0
            kind = "hall" if rng.random() < 0.05 else "barn" if rng.random() < 0.16 else "house"
            depth = {"house": 10, "barn": 13, "hall": 24}[kind]
            back = road_width / 2 + depth / 2 + rng.uniform(3, 8)
            x = point.x - side * math.sin(angle) * back
            y = point.y + side * math.cos(angle) * back
            built = build(land, kind, (x, y, angle), site)
            if built and rng.random() < 0.75:
                drive = LineString([point, (x, y)]).buffer(rng.uniform(1.4, 2.6), cap_style="flat")
                land.yards.append(drive)
                if rng.random() < 0.5:
                    land.cars.append(
                        car(drive.centroid.x, drive.centroid.y, angle + math.pi / 2, rng)
                    )
            step = rng.uniform(13.5, 20) if kind == "house" else rng.uniform(26, 38)
            if built and kind == "house":
                deep = rng.uniform(26, 44)
                back = road_width / 2 + 1 + deep / 2
                middle = (
                    point.x - side * math.sin(angle) * back,
                    point.y + side * math.cos(angle) * back,
                )
                plot = Body(*middle, angle, step, deep, 0, 0, "").outline
                land.plots.append((plot, float(rng.normal(0.1, 0.22))))
            at += step


def build(
    land: Landscape,
    kind: str,
    place: tuple[float, float, float],
    site: Site,
) -> bool:
    """Put a house at (x, y, angle) unless something stands there; says whether it did."""
    rng = site.rng
    x, y, angle = place
    angle += rng.normal(0, 0.05) + (math.pi / 2 if rng.random() < 0.3 else 0)
    low, high = {"house": (10, 14), "barn": (16, 28), "hall": (30, 55)}[kind]
    length = rng.uniform(low, high)
    width = {
        "house": rng.uniform(8, 10.5),
        "barn": rng.uniform(10, 14),
        "hall": rng.uniform(18, 28),
    }[kind]
    roof = (
        str(rng.choice(ROOFS)) if kind != "hall" else str(rng.choice(["metal", "bitumen", "slate"]))
    )
    eaves = {"house": rng.uniform(3.5, 6), "barn": rng.uniform(4, 6), "hall": rng.uniform(6, 9)}[
        kind
    ]
    flat = kind == "hall" or (kind == "house" and rng.random() < 0.08)
    if flat and kind == "house":
        roof = "bitumen"
    ridge = eaves if flat else eaves + width / 2 * rng.uniform(0.55, 1.0)
    main = Body(x, y, angle, length, width, eaves, ridge, roof, bool(rng.random() < 0.25))
    main.panels = not flat and bool(rng.random() < 0.15)
    bodies = [main]
    if rng.random() < 0.45:  # a wing, a garage or a shed at one end
        share, out = rng.uniform(0.5, 0.75), rng.choice((-1, 1))
        along, across = out * (length / 2 - width * share / 2), rng.choice((-1, 1)) * width * 0.55
        wx = x + along * math.cos(angle) - across * math.sin(angle)
        wy = y + along * math.sin(angle) + across * math.cos(angle)
        low_ridge = ridge if flat else eaves + (ridge - eaves) * share
        wing = Body(wx, wy, angle + math.pi / 2, width, width * share, eaves, low_ridge, roof)
        bodies.append(wing)
    outline = unary_union([body.outline for body in bodies])
    near = outline.buffer(3.5)
    if site.keepout.intersects(outline) or any(near.intersects(other) for other in site.taken):
        return False
    site.taken.append(outline)
    land.houses.append(House(kind, bodies, outline))
    return True


def _farms(
    land: Landscape,
    streets: list[Road],
    site: Site,
) -> None:
    """Single farms along the roads: a yard with house and barns around it."""
    rng = site.rng
    for road in streets:
        for at in np.arange(rng.uniform(60, 300), road.line.length - 40, rng.uniform(220, 420)):
            point, ahead = road.line.interpolate(at), road.line.interpolate(at + 2)
            if any(village.distance(point) < 60 for village in land.villages):
                continue
            angle = math.atan2(ahead.y - point.y, ahead.x - point.x)
            normal = rng.choice((-1, 1)) * np.array([-math.sin(angle), math.cos(angle)])
            along = np.array([math.cos(angle), math.sin(angle)])
            centre = np.array(point.coords[0]) + normal * rng.uniform(34, 46)
            yard = Body(float(centre[0]), float(centre[1]), angle, 40, 26, 0, 0, "").outline
            if site.keepout.intersects(yard.buffer(8)):
                continue
            built = 0
            for kind, a, b, turn in (
                ("house", -18, 2, math.pi / 2),
                ("barn", 4, 19, 0),
                ("barn", 22, -2, math.pi / 2),
            ):
                x, y = centre + a * along + b * normal
                built += build(land, kind, (x, y, angle + turn), site)
            if built:
                land.yards.append(yard.buffer(3))
                land.yards.append(LineString([point, centre]).buffer(2, cap_style="flat"))
                land.villages.append(yard.buffer(rng.uniform(14, 30), join_style="mitre"))


def car(x: float, y: float, angle: float, rng: np.random.Generator) -> Body:
    color = str(rng.choice(["white", "silver", "black", "bluecar", "redcar", "silver"]))
    return Body(x, y, angle, 4.4, 1.8, 0.9, 1.5, color, hipped=True)


def _traffic(land: Landscape, rng: np.random.Generator) -> None:
    for road in land.roads:
        if road.kind == "track":
            continue
        for at in np.arange(rng.uniform(10, 200), road.line.length - 5, rng.uniform(90, 260)):
            point, ahead = road.line.interpolate(at), road.line.interpolate(at + 2)
            angle = math.atan2(ahead.y - point.y, ahead.x - point.x)
            lane = road.width_m / 4 * rng.choice((-1, 1))
            x, y = point.x - lane * math.sin(angle), point.y + lane * math.cos(angle)
            land.cars.append(car(x, y, angle, rng))
