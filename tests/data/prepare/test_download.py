"""Downloads: whole or not there, from the mirror that has it, and no byte twice where the server can."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_server import FileServer

from twostream.data.prepare import download as module
from twostream.data.prepare.download import DownloadError, download, file_name

DATA = bytes(range(256)) * 40  # 10,240 bytes
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.0)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer({"a.zip": DATA}) as server:
        yield server


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def left_over(folder: Path) -> int:
    """The size of what is there of an unfinished download."""
    assert "a.zip" not in names(folder)
    return sum(path.stat().st_size for path in folder.glob(".a.zip.*.part"))


def test_a_file_and_its_progress(server: FileServer, tmp_path: Path) -> None:
    steps: list[tuple[str, int, int | None]] = []
    path = download([server.url("a.zip")], tmp_path / "new", size=10_240, sha256=SHA256,
                    progress=lambda *step: steps.append(step))  # fmt: skip
    assert path == tmp_path / "new" / "a.zip"
    assert path.read_bytes() == DATA
    assert steps[-1] == ("a.zip", 10_240, 10_240)
    assert names(path.parent) == ["a.zip"]


def test_a_cut_connection_goes_on_where_it_was(server: FileServer, tmp_path: Path) -> None:
    server.cuts = [1000, 3000]
    assert download([server.url("a.zip")], tmp_path, sha256=SHA256).read_bytes() == DATA
    assert server.asked == [
        ("a.zip", None, None),
        ("a.zip", "bytes=1000-", '"one"'),
        ("a.zip", "bytes=4000-", '"one"'),
    ]


def test_another_call_goes_on_where_the_last_one_was(server: FileServer, tmp_path: Path) -> None:
    server.cuts = [1000, *[0] * 5]
    with pytest.raises(DownloadError, match=r"a\.zip: the connection ended too early \(5 attempts\)"):
        download([server.url("a.zip")], tmp_path)
    assert left_over(tmp_path) == 1000
    server.asked.clear()
    assert download([server.url("a.zip")], tmp_path).read_bytes() == DATA
    assert server.asked == [("a.zip", "bytes=1000-", '"one"')]
    assert names(tmp_path) == ["a.zip"]


def test_a_process_that_was_killed_behind_the_last_byte(server: FileServer, tmp_path: Path) -> None:
    server.cuts = [1000, *[0] * 5]
    with pytest.raises(DownloadError):
        download([server.url("a.zip")], tmp_path)
    next(tmp_path.glob(".a.zip.*.part")).write_bytes(DATA)
    assert download([server.url("a.zip")], tmp_path).read_bytes() == DATA
    assert server.asked[-1] == ("a.zip", "bytes=10240-", '"one"')


def test_a_file_that_changed_meanwhile_is_no_mixture(server: FileServer, tmp_path: Path) -> None:
    server.cuts = [1000, *[0] * 5]
    with pytest.raises(DownloadError):
        download([server.url("a.zip")], tmp_path)
    server.files["a.zip"], server.version = DATA[::-1], '"two"'
    assert download([server.url("a.zip")], tmp_path).read_bytes() == DATA[::-1]


@pytest.mark.parametrize("version", [None, 'W/"weak"'])
def test_without_a_name_for_the_content_all_is_asked_for_again(
    server: FileServer, tmp_path: Path, version: str | None
) -> None:
    server.version, server.cuts = version, [1000]
    assert download([server.url("a.zip")], tmp_path).read_bytes() == DATA
    assert server.asked == [("a.zip", None, None)] * 2


def test_a_server_that_sends_no_parts(server: FileServer, tmp_path: Path) -> None:
    server.ranges, server.cuts = False, [1000, 2000]
    assert download([server.url("a.zip")], tmp_path, sha256=SHA256).read_bytes() == DATA
    assert [asked[1] for asked in server.asked] == [None, "bytes=1000-", "bytes=2000-"]


def test_a_server_that_sends_no_parts_and_never_gets_to_the_end_is_given_up(server: FileServer, tmp_path: Path) -> None:
    server.ranges, server.cuts = False, [1000, 500] * 20
    with pytest.raises(DownloadError, match="5 attempts"):
        download([server.url("a.zip")], tmp_path)
    assert len(server.asked) == 6
    assert left_over(tmp_path) > 0


def test_the_next_mirror_where_one_has_not_got_it(server: FileServer, tmp_path: Path) -> None:
    urls = [server.url("old/a.zip"), "http://127.0.0.1:1/a.zip", server.url("a.zip")]
    assert download(urls, tmp_path).read_bytes() == DATA
    assert [asked[0] for asked in server.asked] == ["old/a.zip", "a.zip"], "404 is not asked twice"


def test_what_other_mirrors_left_is_removed_behind_the_last_byte(server: FileServer, tmp_path: Path) -> None:
    server.files["slow/a.zip"] = DATA
    server.cuts = [1000, *[0] * 5]
    download([server.url("slow/a.zip"), server.url("a.zip")], tmp_path)
    assert names(tmp_path) == ["a.zip"]


def test_an_overloaded_server_is_asked_again(server: FileServer, tmp_path: Path) -> None:
    server.answers = [503, 429, None]
    assert download([server.url("a.zip")], tmp_path).read_bytes() == DATA
    assert len(server.asked) == 3


def test_what_every_mirror_answered(server: FileServer, tmp_path: Path) -> None:
    server.files |= {"web/a.zip": b"<html>sold</html>", "b.rar": DATA}
    server.kind = "text/html; charset=utf-8"
    urls = [server.url("gone/a.zip"), server.url("web/a.zip"), "http://127.0.0.1:1/b.rar"]
    with pytest.raises(DownloadError) as caught:
        download(urls, tmp_path)
    gone, web, refused = urls
    assert str(caught.value).startswith(
        f"a.zip or b.rar cannot be downloaded: {gone}: 404 Not Found; "
        f"{web}: sent a web page in place of the file; {refused}: "
    )
    assert "refused" in str(caught.value)
    assert names(tmp_path) == []


def test_a_web_page_does_not_cost_what_is_there(server: FileServer, tmp_path: Path) -> None:
    server.cuts = [1000, *[0] * 5]
    with pytest.raises(DownloadError):
        download([server.url("a.zip")], tmp_path)
    server.kind, server.version = "text/html", '"login"'
    with pytest.raises(DownloadError, match="web page"):
        download([server.url("a.zip")], tmp_path)
    assert left_over(tmp_path) == 1000


def test_another_size_or_content_is_refused_with_both_values(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="has a file of 10,240 bytes, not of 9,999"):
        download([server.url("a.zip")], tmp_path, size=9_999)
    with pytest.raises(DownloadError, match=f"sent a file with SHA-256 {SHA256}, not {'0' * 64}"):
        download([server.url("a.zip")], tmp_path, sha256="0" * 64)
    assert names(tmp_path) == []


def test_a_full_disk_is_named_and_what_is_there_kept(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this system")
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(DownloadError, match="No space left"):
        module._write(full, b"x")


@pytest.mark.parametrize("url", ["ftp://example.org/a.zip", "a.zip", "http://example.org/", "https://example.org/a/.."])
def test_addresses_that_are_none(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected the address of a file"):
        download([url], tmp_path)


def test_names_stay_in_the_folder() -> None:
    assert file_name("http://h/x/%2e%2e%2fevil.zip") == "evil.zip"
    with pytest.raises(ValueError, match="expected the address"):
        file_name("http://h/x/a%5C..%5Cevil.zip")
