import gzip
import importlib.util
import json
import math
from pathlib import Path

import jsonschema
import polars as pl
import pytest

from stemblend.errors import DataError
from stemblend.evaluation.protocols import DSD100, MDX, SISEC2018, song_scores
from stemblend.evaluation.published import PUBLISHED, name_songs
from stemblend.evaluation.results import (
    collect_results,
    museval_json,
    read_results,
    read_scores,
    write_scores,
)
from stemblend.evaluation.score_schema import to_score_schema

NAN, INF = math.nan, math.inf


def windows(system="A", track="song", sdr=(1.0, 2.0), **columns) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "system": system,
            "track": track,
            "target": "vocals",
            "frame": range(len(sdr)),
            "start": [15.0 * frame for frame in range(len(sdr))],
            "seconds": 30.0,
            "sdr": sdr,
        }
        | columns
    )


def test_scores_come_back_as_they_were_written(tmp_path):
    rows = windows(sdr=[1.5, NAN, -INF], subset="Test", artist="Ann", genre="Rap")
    path = tmp_path / "deep [1]" / "scores.parquet"
    write_scores(path, rows, DSD100)
    found, protocol = read_scores(path)
    assert protocol == DSD100
    assert found.columns == [
        *("system", "subset", "track", "artist", "genre", "target"),
        *("frame", "start", "seconds", "sdr"),
    ]
    assert found["subset"].unique().to_list() == ["test"]
    assert found["sdr"].equals(pl.Series("sdr", [1.5, NAN, -INF]))
    assert [file.name for file in path.parent.iterdir()] == ["scores.parquet"]


def test_a_protocol_with_infinite_windows_or_fewer_metrics_is_kept(tmp_path):
    for protocol in (MDX, DSD100.sdr_only()):
        write_scores(tmp_path / "scores.parquet", windows(), protocol)
        assert read_scores(tmp_path / "scores.parquet")[1] == protocol


def test_a_foreign_parquet_needs_only_three_columns_and_a_metric(tmp_path):
    windows().select("system", "track", "target", sir="sdr").write_parquet(tmp_path / "x.parquet")
    rows, protocol = read_scores(tmp_path / "x.parquet")
    assert protocol is None
    assert rows.select("subset", "artist", "genre").unique().rows() == [("", "", "")]


@pytest.mark.parametrize("end", ["empty", "half", "last byte"])
def test_a_truncated_parquet_is_one_sentence(tmp_path, end):
    path = tmp_path / "scores.parquet"
    write_scores(path, windows(), DSD100)
    data = path.read_bytes()
    path.write_bytes(data[: {"empty": 0, "half": len(data) // 2, "last byte": -1}[end]])
    with pytest.raises(DataError, match=r"scores\.parquet is damaged.*score its songs again\.$"):
        read_scores(path)


def test_a_protocol_of_another_version_is_one_sentence(tmp_path):
    path = tmp_path / "scores.parquet"
    windows().write_parquet(path, metadata={"stemblend.protocol": '{"name": "new"}'})
    with pytest.raises(DataError, match="does not understand: score its songs again"):
        read_scores(path)


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"scores\.parquet cannot be written"):
        write_scores(tmp_path / "file" / "scores.parquet", windows(), DSD100)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("track,target,sdr\na,vocals,1\n", "has no column 'system'"),
        ("system,track,target\nA,a,vocals\n", "has no column 'sdr'"),
        ("system,track,target,sdr\n", "has no row"),
        ("system,track,target,sdr\nA,a,vocals,loud\n", "no numbers .*'sdr'"),
        ("system,track,target,sdr\n,a,vocals,1\n", "row without a system"),
        ("system,track,target,frame,sdr\nA,a,b,0,1\nA,a,b,0,2\n", "scores b of a by A twice"),
        ("system,track,target,sdr\nA,a,b,1,2,3\n", "damaged or no CSV"),
        ("", "damaged or no CSV"),
    ],
)
def test_a_bad_csv_is_one_sentence(tmp_path, text, message):
    path = tmp_path / "frames.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_results(path)
    assert "frames.csv" in str(caught.value)
    assert str(caught.value).endswith(".")


def test_a_packed_csv_is_read_and_a_truncated_one_is_not(tmp_path):
    path = tmp_path / "frames.csv.gz"
    data = gzip.compress(b"system,subset,track,target,frame,sdr\nA,Dev,a,b,0,nan\nA,Dev,a,b,1,2\n")
    path.write_bytes(data)
    rows, protocol = read_results(path)
    assert protocol is None
    assert rows["subset"].to_list() == ["dev", "dev"]
    assert song_scores(rows, DSD100)["sdr"].to_list() == [2.0]
    path.write_bytes(data[:-12])
    with pytest.raises(DataError, match="damaged or no CSV"):
        read_results(path)


def test_a_folder_of_evaluate_is_read(tmp_path):
    write_scores(tmp_path / "scores.parquet", windows(), DSD100)
    (tmp_path / "museval").mkdir()
    rows, protocol = read_results(tmp_path)
    assert (rows.height, protocol) == (2, DSD100)


def test_an_evaluation_that_has_not_ended_is_one_sentence(tmp_path):
    write_scores(tmp_path / "songs" / "A" / "test" / "a.parquet", windows(), DSD100)
    with pytest.raises(DataError, match="has not ended: run the same `stemblend evaluate` again"):
        read_results(tmp_path)


def test_an_empty_folder_and_a_missing_one_are_one_sentence(tmp_path):
    with pytest.raises(DataError, match="holds no results: name a folder that"):
        read_results(tmp_path)
    for name in ("missing", "missing.csv"):
        with pytest.raises(DataError, match="does not exist: name a folder that"):
            read_results(tmp_path / name)


def write_museval(folder: Path, track: str, content: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{track}.json").write_text(json.dumps(content))


def test_museval_files_come_back(tmp_path):
    rows = windows(sdr=[1.23456789, INF], isr=[NAN, 2.0], subset="test")
    write_museval(tmp_path / "A" / "test", "song v1.2", museval_json(rows))
    write_museval(tmp_path / "B" / "train", "song", museval_json(rows))
    found, protocol = read_results(tmp_path)
    assert protocol is None
    assert found.select("system", "subset", "track").unique(maintain_order=True).rows() == [
        ("A", "test", "song v1.2"),
        ("B", "train", "song"),
    ]
    first = found.filter(system="A")
    assert first["sdr"].equals(pl.Series("sdr", [1.23457, NAN]))
    assert first.select("frame", "start", "seconds").rows() == [(0, 0.0, 30.0), (1, 15.0, 30.0)]
    # the folder of one system, as museval itself writes it
    assert read_results(tmp_path / "A")[0].equals(first)


@pytest.mark.parametrize(
    "content", [{}, [], {"targets": []}, {"targets": [{"name": "vocals", "frames": [{}]}]}, "text"]
)
def test_a_damaged_museval_file_is_one_sentence(tmp_path, content):
    write_museval(tmp_path / "A" / "test", "song", content)
    with pytest.raises(DataError, match=r"song\.json is damaged"):
        read_results(tmp_path)


def test_a_truncated_or_stray_json_is_one_sentence(tmp_path):
    write_museval(tmp_path / "A" / "test", "song", museval_json(windows()))
    path = tmp_path / "A" / "test" / "song.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(DataError, match="damaged"):
        read_results(tmp_path)
    with pytest.raises(DataError, match="lies in no folder of its subset"):
        read_results(path.parent)


def test_museval_files_follow_its_schema():
    package = importlib.util.find_spec("museval")
    if package is None or not package.submodule_search_locations:
        pytest.skip("museval is not installed")
    schema = Path(package.submodule_search_locations[0]) / "musdb.schema.json"
    rows = pl.concat([windows(), windows(target="drums", sdr=[-INF, 0.000004])])
    content = museval_json(rows)
    jsonschema.validate(content, json.loads(schema.read_text()))
    assert [target["name"] for target in content["targets"]] == ["vocals", "drums"]
    assert content["targets"][0]["frames"][1] == {
        "time": 15.0,
        "duration": 30.0,
        "metrics": {"SDR": 2.0},
    }
    worst, tiny = (frame["metrics"]["SDR"] for frame in content["targets"][1]["frames"])
    assert math.isnan(worst)
    assert tiny == 0.0


def test_museval_files_hold_one_system_and_song():
    with pytest.raises(DataError, match="one system for one song"):
        museval_json(pl.concat([windows(), windows(track="other")]))


def test_sets_of_one_protocol_are_collected(tmp_path):
    for name in ("old", "new"):
        write_scores(tmp_path / name / "scores.parquet", windows(), DSD100)
    write_scores(tmp_path / "third.parquet", windows("B"), DSD100.sdr_only())
    paths = [tmp_path / "old", tmp_path / "new", tmp_path / "third.parquet"]
    rows, protocol = collect_results(paths)
    assert protocol == DSD100
    assert rows["system"].unique(maintain_order=True).to_list() == [
        f"A ({tmp_path / 'old'})",
        f"A ({tmp_path / 'new'})",
        "B",
    ]


def test_protocols_are_not_mixed(tmp_path):
    write_scores(tmp_path / "a.parquet", windows(), DSD100)
    write_scores(tmp_path / "b.parquet", windows(), SISEC2018)
    with pytest.raises(DataError, match=r"b\.parquet .* sisec2018 but .*a\.parquet says dsd100"):
        collect_results([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    with pytest.raises(DataError, match=r"a\.parquet .* dsd100 but --protocol says sisec2018"):
        collect_results([tmp_path / "a.parquet"], SISEC2018)


def test_a_set_that_names_no_protocol_needs_one(tmp_path):
    windows().write_csv(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"a\.csv does not say .*: add --protocol"):
        collect_results([tmp_path / "a.csv"])
    assert collect_results([tmp_path / "a.csv"], MDX)[1] == MDX


def test_nothing_to_collect_and_the_same_twice_are_one_sentence():
    with pytest.raises(DataError, match="no results to read"):
        collect_results([])
    with pytest.raises(DataError, match="sisec2016 is named twice"):
        collect_results(["sisec2016", "sisec2016"])


def test_songs_of_dsd100_are_known_by_all_their_names():
    names = ["001 - ANiMAL - Clinic A", "ANiMAL - Clinic A", "Mu_TooBright_Full", "my song"]
    rows = pl.concat([windows(track=name, sdr=[1.0]) for name in names])
    named = name_songs(
        to_score_schema(rows.with_columns(genre=pl.lit(""), artist=pl.lit("me")), "x")
    )
    assert named.select("track", "artist", "genre").rows() == [
        ("001 - ANiMAL - Clinic A", "me", "Rap"),
        ("001 - ANiMAL - Clinic A", "me", "Rap"),
        ("079 - Mu - Too Bright", "me", "Pop/Rock"),
        ("my song", "me", ""),
    ]


def test_the_published_table_is_whole():
    rows, protocol = read_results("sisec2016")
    assert protocol == DSD100
    assert rows.height == 24 * 100 * 5
    assert rows.select("subset", "track").n_unique() == 100
    assert (rows["genre"] != "").all()
    assert (rows["artist"] != "").all()
    assert PUBLISHED["sisec2016"].stat().st_size < 200_000
    assert (PUBLISHED["sisec2016"].parent / "README.md").exists()
