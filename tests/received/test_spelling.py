import pytest

from geoseg.received.spelling import by_pattern, unfound


@pytest.mark.parametrize(
    "path",
    [
        "https://data.example.org/cube.zarr",
        "s3://bucket/cube.nc",
        "zarr:https://data.example.org/cube.zarr",
        "/vsicurl/https://data.example.org/a.tif",
        'NETCDF:"https://data.example.org/x.nc":v',
    ],
)
def test_what_lies_on_a_server_is_said_to(path):
    assert unfound(path, "rasters").startswith(f"{path}: lies on a server, ")


@pytest.mark.parametrize("path", ["a.tif", "C:/images/a.tif", "/data/https/a.tif", "zarr/*.tif"])
def test_what_lies_nowhere_is_said_to(path):
    assert unfound(path, "rasters") == f"{path}: no such file or folder, and no rasters match it"


def test_images_that_are_not_looked_for_are_said_to_be_taken_by_a_pattern():
    assert by_pattern(["a.txt", "b.JPG"]) == "; its .JPG files are taken by a pattern: …/*.JPG"
    assert by_pattern(["a.txt"]) == ""
