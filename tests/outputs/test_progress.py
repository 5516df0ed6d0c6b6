"""What progress says of scenes."""

from geoseg.outputs.progress import Progress


def test_names_of_scenes_are_no_markup(capsys):
    with Progress(2, 10) as progress:
        progress.scene("[z]:boom:", "failed (T[/a].tif)")
    assert capsys.readouterr().out == "[z]:boom:: failed (T[/a].tif) (1 of 2)\n"
