"""Pictures of scenes."""

import io
from base64 import b64decode

import numpy as np
from PIL import Image

from geoseg.evaluation import pictures
from geoseg.scenes.bands import Bands
from geoseg.scenes.scene import find_scenes
from tests.made.scenes import grid, write


def _pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(b64decode(uri.split(",")[1]))).convert("L"))


def test_clouds_on_some_dates_are_not_in_the_picture(tmp_path):
    ground = np.arange(1, 601, dtype=np.uint16).reshape(20, 30)
    cloudy = ground.copy()
    cloudy[:10] = 9000
    for date, image in (("20200101", cloudy), ("20200111", ground), ("20200121", ground)):
        write(tmp_path / f"{date}_B02.tif", image)
        write(tmp_path / f"{date}_B03.tif", np.flipud(image))
    clear = pictures.of_scenes(find_scenes([tmp_path / "20200111_B02.tif"], Bands()), grid(20, 30))
    scenes = [find_scenes([path], Bands())[0] for path in sorted(tmp_path.iterdir())]
    told = pictures.of_scenes(scenes, grid(20, 30))
    assert np.array_equal(_pixels(told), _pixels(clear))


def test_of_two_scenes_on_one_grid_the_first_that_has_data_counts(tmp_path):
    first, second = np.full((2, 20, 30), 5, np.uint16)
    first[:, :10], first[:, 10:20] = 0, 100
    write(tmp_path / "2020.tif", first)
    write(tmp_path / "2021.tif", second + 50)
    told = _pixels(pictures.of_scenes(find_scenes([tmp_path], Bands()), grid(20, 30)))
    assert [len(np.unique(part)) for part in (told[:, :10], told[:, 10:20], told)] == [1, 1, 3]
