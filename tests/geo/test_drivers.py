"""Rasters that somebody sent: they hold their own pixels, and reach for nothing else."""

import os
import subprocess
import sys

import numpy as np
import pytest
import rasterio
import rasterio.shutil

from geoseg.errors import InputError
from geoseg.geo import drivers, raster, vrt
from tests.made.scenes import write

IMAGE = np.full((1, 64, 64), 7, np.uint8)


@pytest.fixture
def server():
    """Address of a web server on this machine, and what it was asked for."""
    call = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        line = run.stdout.readline()
        port = line.partition("port ")[2].split()[0]

        def asked() -> str:
            run.kill()
            return run.stderr.read()

        yield f"http://127.0.0.1:{port}", asked
        run.kill()


def layered(source: str, *, relative: int = 0, extra: str = "", band: str = "") -> str:
    return (
        '<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>EPSG:32632</SRS>'
        "<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>"
        f'<VRTRasterBand dataType="Byte" band="1" {band}>{extra}<SimpleSource>'
        f'<SourceFilename relativeToVRT="{relative}">{source}</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )


def service(address: str) -> str:
    return (
        f'<GDAL_WMS><Service name="TMS"><ServerUrl>{address}/${{z}}/${{x}}/${{y}}.png</ServerUrl>'
        "</Service><DataWindow><UpperLeftX>-10</UpperLeftX><UpperLeftY>10</UpperLeftY><LowerRightX>"
        "10</LowerRightX><LowerRightY>-10</LowerRightY><TileLevel>2</TileLevel><TileCountX>1"
        "</TileCountX><TileCountY>1</TileCountY></DataWindow><Projection>EPSG:3857</Projection>"
        "<BandsCount>3</BandsCount></GDAL_WMS>"
    )


def fault(path) -> str:
    """What is said when a raster is opened and read; at reduced size, so from its overviews."""
    with pytest.raises(InputError) as told, raster.Raster(path) as file:
        file.read(file.grid.window, shape=(8, 8))
    assert len(str(told.value)) < 2000
    return str(told.value)


@pytest.mark.parametrize("name", ["scene.tif", "scene.vrt"])
def test_no_server_is_asked_for_what_a_file_says(tmp_path, server, name):
    address, asked = server
    path = tmp_path / name
    for text in (
        layered(f"/vsicurl/{address}/a.tif"),
        service(address),
        layered(service(address).replace("<", "&lt;")),
        layered(f"vrt:///vsicurl/{address}/b.tif"),
        layered(f"{address}/c.tif"),
        f'<OGRVRTDataSource><OGRVRTLayer name="a"><SrcDataSource>{address}/d.json</SrcDataSource>'
        "</OGRVRTLayer></OGRVRTDataSource>",
    ):
        path.write_text(text)
        assert fault(path)
    # Within a VRT that is one, beside the file that it is made of.
    (tmp_path / "tile.tif").write_text(service(address))
    path.write_text(layered("tile.tif", relative=1))
    assert fault(path)
    assert "GET" not in (said := asked())
    assert "HEAD" not in said


@pytest.mark.parametrize("beside", [True, False])
def test_overviews_that_are_elsewhere_are_not_followed(tmp_path, server, beside):
    address, asked = server
    for elsewhere in (f"/vsicurl/{address}/a.ovr", str(tmp_path / "other" / "secret.tif")):
        path = write(tmp_path / "scene.tif", IMAGE)
        if beside:
            (tmp_path / "scene.tif.aux.xml").write_text(
                f'<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{elsewhere}'
                "</MDI></Metadata></PAMDataset>"
            )
        else:
            with rasterio.open(tmp_path / "scene.tif", "r+") as file:
                file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=elsewhere)
        assert "overviews are said to be in" in fault(path or tmp_path / "scene.tif")
    assert "HEAD" not in asked()


def test_a_vrt_reads_no_file_outside_its_folder(tmp_path, monkeypatch):
    (tmp_path / "sent/scenes").mkdir(parents=True)
    (tmp_path / "own").mkdir()
    write(tmp_path / "own/secret.tif", IMAGE)
    path = tmp_path / "sent/scene.vrt"
    for name, relative in ((tmp_path / "own/secret.tif", 0), ("../own/secret.tif", 1)):
        path.write_text(layered(str(name), relative=relative))
        assert "lies outside its folder" in fault(path)
    # Nor through another VRT.
    (tmp_path / "sent/scenes/inner.vrt").write_text(layered("../../own/secret.tif", relative=1))
    path.write_text(layered("scenes/inner.vrt", relative=1))
    assert "lies outside its folder" in fault(path)
    monkeypatch.setenv(vrt.FOLDERS, str(tmp_path / "own"))
    with raster.Raster(path) as file:
        assert (file.read(file.grid.window)[0] == 7).all()


def test_a_vrt_reads_no_bytes_of_other_files(tmp_path):
    path = tmp_path / "scene.vrt"
    raw = (
        '<SourceFilename relativeToVRT="0">/etc/passwd</SourceFilename>'
        "<ImageOffset>0</ImageOffset><PixelOffset>1</PixelOffset><LineOffset>8</LineOffset>"
    )
    path.write_text(layered("/etc/passwd", extra=raw, band='subClass="VRTRawRasterBand"'))
    assert "VRTRawRasterBand" in fault(path)
    (tmp_path / "notes.txt").write_text("no raster\n")
    path.write_text(layered("notes.txt", relative=1))
    assert "no raster of plain pixels" in fault(path)
    path.write_text(layered("gone.tif", relative=1))
    assert "no file here" in fault(path)
    path.write_text(layered("scene.vrt", relative=1))
    assert "does it name itself?" in fault(path)


def test_no_pixel_function_in_python_is_run(tmp_path, monkeypatch):
    write(tmp_path / "a.tif", IMAGE)
    code = (
        "<PixelFunctionType>f</PixelFunctionType><PixelFunctionLanguage>Python"
        "</PixelFunctionLanguage><PixelFunctionCode>def f(*a, **k): open("
        f"{str(tmp_path / 'ran')!r}, 'w')</PixelFunctionCode>"
    )
    path = tmp_path / "scene.vrt"
    path.write_text(
        layered("a.tif", relative=1, extra=code, band='subClass="VRTDerivedRasterBand"')
    )
    assert "program code" in fault(path)
    assert not (tmp_path / "ran").exists()
    assert os.environ["GDAL_VRT_ENABLE_PYTHON"] == "NO"


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><VRTDataset>&b;</VRTDataset>',
        "<VRTDataset",
        "<VRTDataset>" + "<a>" * 100_000,
    ],
)
def test_what_is_no_vrt_is_said_in_a_line(tmp_path, text):
    (tmp_path / "scene.vrt").write_text(text)
    assert "can't be read as a VRT" in fault(tmp_path / "scene.vrt")


def test_a_vrt_with_the_name_of_another_format_is_named(tmp_path):
    write(tmp_path / "a.tif", IMAGE)
    (tmp_path / "scene.tif").write_text(layered("a.tif", relative=1))
    assert "rename it to .vrt" in fault(tmp_path / "scene.tif")


def test_a_vrt_of_its_own_folders_is_read(tmp_path):
    (tmp_path / "tiles").mkdir()
    write(tmp_path / "tiles/a.tif", IMAGE)
    (tmp_path / "inner.vrt").write_text(layered("tiles/a.tif", relative=1))
    (tmp_path / "scene.vrt").write_text(layered("inner.vrt", relative=1))
    (tmp_path / "whole.vrt").write_text(layered(str(tmp_path / "tiles/a.tif")))
    for name in ("scene.vrt", "whole.vrt"):
        with raster.Raster(tmp_path / name) as file:
            assert (file.read(file.grid.window)[0] == 7).all()


@pytest.mark.parametrize(
    ("driver", "name"),
    [
        ("GTiff", "a.tif"), ("COG", "a.tif"), ("PNG", "a.png"), ("JPEG", "a.jpg"),
        ("JP2OpenJPEG", "a.jp2"), ("HFA", "a.img"), ("ENVI", "a.bsq"), ("NITF", "a.ntf"),
        ("AAIGrid", "a.asc"), ("SAGA", "a.sdat"), ("netCDF", "a.nc"),
    ],
)  # fmt: skip
def test_formats_of_plain_pixels_are_opened(tmp_path, driver, name):
    write(tmp_path / "source.tif", IMAGE)
    rasterio.shutil.copy(tmp_path / "source.tif", tmp_path / name, driver=driver)
    with drivers.open_dataset(tmp_path / name) as file:
        assert file.read(1).shape == (64, 64)
    (tmp_path / "of.vrt").write_text(layered(name, relative=1))
    if driver != "netCDF":
        assert drivers.is_plain(str(tmp_path / name))
    with drivers.open_dataset(tmp_path / "of.vrt") as file:
        assert file.count == 1


def test_folders_of_the_command_line_are_trusted(tmp_path, monkeypatch):
    monkeypatch.setenv(vrt.FOLDERS, "")
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "x.tif", IMAGE)
    vrt.trust(
        [
            f"scenes={tmp_path}/a/*.tif",
            f"labels.path=[{tmp_path}/b,'{tmp_path}/nothing']",
            "labels.where=" + "x" * 5000,
            "out=~nobody_of_this_name/x",
            "seed=3",
            "--multirun",
            "dataset=/",
            "run=~",
        ]
    )
    assert os.environ[vrt.FOLDERS].split(os.pathsep) == [f"{tmp_path}/a", f"{tmp_path}/b"]
    assert vrt.allows(str(tmp_path / "a/x.tif"), str(tmp_path / "c"))
    assert not vrt.allows("/etc/passwd", str(tmp_path / "c"))
