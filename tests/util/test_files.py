import pytest

from stemblend.util.files import new_folder


def test_a_folder_appears_with_all_that_is_in_it(tmp_path):
    with new_folder(tmp_path / "song") as folder:
        (folder / "bass.txt").write_text("low")
        assert not (tmp_path / "song").exists()
    assert (tmp_path / "song/bass.txt").read_text() == "low"
    assert [path.name for path in tmp_path.iterdir()] == ["song"]


def write_half_of_it(path):
    with new_folder(path) as folder:
        (folder / "bass.txt").write_text("low")
        raise ValueError("broken")


def test_nothing_is_left_of_a_folder_that_failed(tmp_path):
    with pytest.raises(ValueError, match="broken"):
        write_half_of_it(tmp_path / "song")
    assert not list(tmp_path.iterdir())
