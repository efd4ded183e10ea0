from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ganstyle.base.errors import UserError
from ganstyle.data.doctor import Report, Spread, check_folders, findings_table, report_table
from ganstyle.data.images import encode_image, write_image


def picture(seed: int, height: int = 80, width: int = 100) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def fill(folder: Path, count: int, start: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(start, start + count):
        write_image(folder / f"{seed}.png", picture(seed))
    return folder


def kinds(report: Report) -> dict[str, str]:
    return {finding.kind: finding.severity for finding in report.findings}


def messages(report: Report, kind: str) -> list[str]:
    return [finding.message for finding in report.findings if finding.kind == kind]


def test_a_good_folder_has_nothing_to_tell(tmp_path: Path) -> None:
    report = check_folders([fill(tmp_path / "a", 20)])
    assert report.findings == []
    assert not report.needs_attention
    figures = report.groups["a"]
    assert (figures.images, figures.unreadable, figures.other_files, figures.grey) == (20, 0, 0, 0)
    assert figures.width == Spread(100, 100, 100)
    assert figures.height == Spread(80, 80, 80)
    assert figures.aspect == Spread(1.25, 1.25, 1.25)


def test_sizes(tmp_path: Path) -> None:
    for seed, (height, width) in enumerate([(80, 100), (100, 64), (200, 300)]):
        write_image(tmp_path / f"{seed}.png", picture(seed, height, width))
    report = check_folders([tmp_path])
    (figures,) = report.groups.values()
    assert figures.width == Spread(64, 100, 300)
    assert figures.height == Spread(80, 100, 200)
    assert figures.aspect == Spread(0.64, 1.25, 1.5)
    assert report_table(report)[1][-3:] == ["64 / 100 / 300", "80 / 100 / 200", "0.64 / 1.25 / 1.50"]


def test_unreadable_files_and_their_reasons(tmp_path: Path) -> None:
    fill(tmp_path, 20)
    (tmp_path / "empty.jpg").touch()
    data = encode_image(picture(99), "png")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "cut.png").write_bytes(data[: len(data) // 2])
    report = check_folders([tmp_path])
    told = messages(report, "unreadable")
    assert told[0] == f"{tmp_path / 'empty.jpg'}: empty file"
    assert told[1].startswith(f"{tmp_path / 'sub' / 'cut.png'}: truncated: ")
    assert len(told) == 2
    assert kinds(report) == {"unreadable": "attention"}
    assert report.groups[tmp_path.name].unreadable == 2
    assert report.groups[tmp_path.name].images == 20


def test_duplicates_in_whatever_encoding(tmp_path: Path) -> None:
    fill(tmp_path, 20)
    (tmp_path / "copy.png").write_bytes((tmp_path / "3.png").read_bytes())
    write_image(tmp_path / "other.bmp", picture(3))
    report = check_folders([tmp_path])
    (finding,) = report.findings
    assert finding.kind == "duplicate"
    assert finding.severity == "attention"
    assert finding.files == [(tmp_path / name).as_posix() for name in ("3.png", "copy.png", "other.bmp")]
    assert "3 files are the same image" in finding.message


def test_the_same_values_in_another_shape_are_another_image(tmp_path: Path) -> None:
    values = picture(0, 80, 100)
    write_image(tmp_path / "a.png", values)
    write_image(tmp_path / "b.png", values.reshape(100, 80, 3))
    assert kinds(check_folders([tmp_path])) == {"few": "information"}


def test_flat_tiny_and_long_images(tmp_path: Path) -> None:
    fill(tmp_path, 20)
    random = np.random.default_rng(0)
    write_image(tmp_path / "flat.jpg", np.full((80, 80, 3), (200, 30, 60), np.uint8))
    nearly = random.integers(100, 103, (80, 80, 3), dtype=np.uint8)
    nearly[..., 0] += 50
    write_image(tmp_path / "nearly.png", nearly)
    write_image(tmp_path / "faint.png", random.integers(100, 120, (80, 80, 3), dtype=np.uint8))  # deviation 5.8
    write_image(tmp_path / "tiny.png", picture(50, 63, 70))
    write_image(tmp_path / "not_tiny.png", picture(51, 64, 70))
    write_image(tmp_path / "long.png", picture(52, 401, 100))
    write_image(tmp_path / "not_long.png", picture(53, 100, 400))
    report = check_folders([tmp_path])
    assert kinds(report) == {"flat": "attention", "tiny": "attention", "aspect": "attention"}
    files = {finding.kind: [Path(file).name for file in finding.files] for finding in report.findings}
    assert files == {"flat": ["flat.jpg", "nearly.png"], "tiny": ["tiny.png"], "aspect": ["long.png"]}
    assert "standard deviation under 2 of 255 levels" in messages(report, "flat")[0]
    assert "1 of 27 images is tiny (short side under 64 px): tiny.png (70 x 63)" in messages(report, "tiny")[0]


def test_other_files_are_told_one_by_one_while_they_are_few(tmp_path: Path) -> None:
    fill(tmp_path, 20)
    for name in ("a.txt", "b.mp4", ".hidden"):
        (tmp_path / name).touch()
    report = check_folders([tmp_path])
    assert messages(report, "other_file") == [
        f"{tmp_path / name}: has no image's suffix and is not used" for name in ("a.txt", "b.mp4")
    ]
    for number in range(5):
        (tmp_path / f"{number}.txt").touch()
    report = check_folders([tmp_path])
    assert messages(report, "other_file") == [f"{tmp_path.name}: 7 files have no image's suffix and are not used"]
    assert report.groups[tmp_path.name].other_files == 7
    assert not report.needs_attention


def test_grey_images_among_colour(tmp_path: Path) -> None:
    fill(tmp_path, 19)
    write_image(tmp_path / "grey.jpg", np.repeat(picture(70)[..., :1], 3, axis=2))
    report = check_folders([tmp_path])
    assert kinds(report) == {"grey": "information"}
    assert "1 of 20 images is grey (5%)" in messages(report, "grey")[0]


def test_a_grey_set_is_nothing_odd(tmp_path: Path) -> None:
    for seed in range(20):
        write_image(tmp_path / f"{seed}.png", np.repeat(picture(seed)[..., :1], 3, axis=2))
    report = check_folders([tmp_path])
    assert report.findings == []
    assert report.groups[tmp_path.name].grey == 20


def test_the_layout_of_train_and_test(tmp_path: Path) -> None:
    for place, (name, count) in enumerate({"trainA": 20, "trainB": 20, "testA": 3, "testB": 3}.items()):
        fill(tmp_path / name, count, start=100 * place)
    report = check_folders([tmp_path])
    assert list(report.groups) == ["trainA", "trainB", "testA", "testB"]
    assert report.findings == []
    write_image(tmp_path / "testA" / "leak.tif", picture(5))  # trainA, in another format
    write_image(tmp_path / "testB" / "leak.bmp", picture(6))  # trainA as well
    write_image(tmp_path / "trainB" / "both.png", picture(7))
    report = check_folders([tmp_path])
    assert kinds(report) == {"train_and_test": "attention", "both_domains": "attention"}
    assert len(messages(report, "train_and_test")) == 2
    assert messages(report, "train_and_test")[0].startswith("trainA and testA share 1 image ")
    assert messages(report, "both_domains")[0].startswith("trainA and trainB share 1 image ")
    assert report.needs_attention


def test_two_folders_are_two_domains(tmp_path: Path) -> None:
    a, b = fill(tmp_path / "photos", 22), fill(tmp_path / "paintings", 2, start=21)
    report = check_folders([a, b])
    assert list(report.groups) == ["photos", "paintings"]
    assert kinds(report) == {"both_domains": "attention", "imbalance": "attention", "few": "information"}
    assert report.findings[-1].kind == "few"  # attention comes first
    write_image(b / "third.png", picture(77))
    assert "imbalance" not in kinds(check_folders([a, b]))


def test_groups_of_one_name_are_told_apart(tmp_path: Path) -> None:
    folders = [fill(tmp_path / name / "images", 1, start) for start, name in enumerate(("x", "y"))]
    assert list(check_folders(folders).groups) == [folder.as_posix() for folder in folders]


def test_a_folder_without_images_needs_attention(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"rubbish")
    report = check_folders([tmp_path])
    assert kinds(report) == {"unreadable": "attention", "empty": "attention"}
    assert report.groups[tmp_path.name].width is None
    assert report_table(report)[1] == [tmp_path.name, "0", "1", "0", "0", "-", "-", "-"]


def test_folders_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"gone does not exist: give folders with images in them"):
        check_folders([tmp_path / "gone"])
    with pytest.raises(UserError, match=r"file is a file, not a folder"):
        check_folders([tmp_path / "file"])


def test_json_and_tables(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    (tmp_path / "a.jpg").touch()
    report = check_folders([tmp_path])
    found = json.loads(json.dumps(report.to_json()))
    assert sorted(found) == ["findings", "groups", "needs_attention"]
    assert found["needs_attention"] is True
    assert found["groups"][tmp_path.name] == {
        "images": 2,
        "unreadable": 1,
        "other_files": 0,
        "grey": 0,
        "width": {"min": 100, "median": 100, "max": 100},
        "height": {"min": 80, "median": 80, "max": 80},
        "aspect": {"min": 1.25, "median": 1.25, "max": 1.25},
    }
    assert [sorted(finding) for finding in found["findings"]] == [["files", "kind", "message", "severity"]] * 2
    assert [row[0] for row in findings_table(report)] == ["severity", "attention", "information"]
    assert {len(row) for row in report_table(report)} == {8}


def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    fill(tmp_path, 12)
    (tmp_path / "a.jpg").touch()
    assert check_folders([tmp_path], workers=1) == check_folders([tmp_path], workers=8)


def test_the_shared_set_can_be_used() -> None:
    folder = Path(__file__).resolve().parents[2] / "../shared/data/photo2ink"
    if not folder.is_dir():
        pytest.skip("../shared/data/photo2ink is not here")
    report = check_folders([folder])
    assert set(report.groups) == {"trainA", "trainB", "testA", "testB"}
    assert all(group.images > 0 and group.unreadable == 0 for group in report.groups.values())
