"""What of a data set is compared with the training of a network before anything is computed."""

from dataclasses import replace

from geoseg.dataset.tiles import Dataset
from geoseg.geo.band_tags import BandTags
from geoseg.models import suitability
from geoseg.samples.fitted import check_units
from tests.calibration.test_calibrate import made_dataset
from tests.made.scenes import CARD, plain


def test_units_are_compared_band_by_band_and_other_bands_are_left_to_others(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(
        suitability, "check_units", lambda *given, usual: told.append((given[2], usual))
    )
    dataset = Dataset.load(made_dataset(tmp_path, wrong=(0.0,)))
    tags = BandTags(None, 0.1, 0.0), BandTags(None, 1.0, 5.0)
    card = replace(CARD, bands=("red", "nir"), statistics=plain(2), tags=tags)
    check_units(dataset, card)  # of one band
    assert not told
    scene = replace(dataset.scenes[0], bands=("nir", "red"), tags=tags[::-1])
    statistics = replace(plain(2), high=(9.0, 255.0), p98=(8.0, 250.0))
    check_units(replace(dataset, scenes=(scene,), statistics=statistics), card)
    assert told == [([255.0, 9.0], [250.0, 8.0])]
