"""Unpacking: what is in comes out, and nothing gets anywhere else."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from archive_files import write_rar, write_tar, write_zip

from twostream.data.prepare import archives
from twostream.data.prepare.archives import RAR_TOOLS, ArchiveError, unpack

FILES = {"UCF-101/YoYo/v_YoYo_g01_c01.avi": b"one" * 1000, "UCF-101/naïve (name) & co.avi": b"", "read me.txt": b"!"}
PRESENT = [tool for tool in RAR_TOOLS if shutil.which(tool)]


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def use_only(tool: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "RAR_TOOLS", {tool: RAR_TOOLS[tool]} if tool else {})


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "A.TGZ"])
def test_what_is_in_comes_out(tmp_path: Path, name: str) -> None:
    write = write_zip if name.endswith("zip") else write_tar
    unpack(write(tmp_path / name, FILES), tmp_path / "out")
    assert content(tmp_path / "out") == FILES
    assert everything(tmp_path) & {".out.unpacking"} == set()


@pytest.mark.parametrize("tool", RAR_TOOLS)
def test_rar_by_each_program(tmp_path: Path, tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if tool not in PRESENT:
        pytest.skip(f"{tool} is not installed")
    use_only(tool, monkeypatch)
    files = {"a/b c.avi": b"x" * 5000, "a/(d) & 'e'.avi": b"y", "f.avi": b"z" * 3}
    unpack(write_rar(tmp_path / "a.rar", files), tmp_path / "out")
    assert content(tmp_path / "out") == files


def test_rar_by_a_program_that_only_looks_like_unrar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How unrar is called, where there is none: `unrar lb … FILE` lists, `unrar x … FILE` unpacks where it is run."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "unrar"
    program.write_text(
        "#!/bin/sh\nfor last; do :; done\n"
        'case "$1" in lb) echo "a/one.avi";; x) mkdir a; head -c 4 "$last" > a/one.avi;; *) exit 7;; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    unpack(write_rar(tmp_path / "a.rar", {}), tmp_path / "out")
    assert content(tmp_path / "out") == {"a/one.avi": b"Rar!"}


def test_another_program_is_tried_where_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, body in (("one", "touch left; echo broken >&2; exit 3"), ("two", "touch whole")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    tools = {str(tmp_path / name): ([str(tmp_path / name)], [str(tmp_path / name)]) for name in ("one", "two")}
    monkeypatch.setattr(archives, "RAR_TOOLS", tools)
    rar = write_rar(tmp_path / "a.rar", {})
    unpack(rar, tmp_path / "out")
    assert set(content(tmp_path / "out")) == {"whole"}
    monkeypatch.setattr(archives, "RAR_TOOLS", dict([next(iter(tools.items()))]))
    with pytest.raises(ArchiveError, match=r"a\.rar: cannot be unpacked \(.*one: exit code 3, broken\)"):
        unpack(rar, tmp_path / "out2")


def test_no_program_for_rar_is_one_clear_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rar = write_rar(tmp_path / "a.rar", {"a": b""})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ArchiveError, match=r"a\.rar: needs one of unar, bsdtar, 7z, unrar .* `apt install unar`"):
        unpack(rar, tmp_path / "out")
    assert everything(tmp_path) == {"a.rar"}


@pytest.mark.skipif(not PRESENT, reason="no program for rar")
def test_rars_in_a_rar_as_in_hmdb51(tmp_path: Path) -> None:
    walk = write_rar(tmp_path / "walk.rar", {"walk/x_walk_1.avi": b"1", "walk/y_walk_2.avi": b"2"}).read_bytes()
    run = write_rar(tmp_path / "run.rar", {"x_run_1.avi": b"3"}).read_bytes()
    unpack(write_rar(tmp_path / "hmdb51_org.rar", {"walk.rar": walk, "run.rar": run}), tmp_path / "out")
    assert content(tmp_path / "out") == {"walk/x_walk_1.avi": b"1", "walk/y_walk_2.avi": b"2", "run/x_run_1.avi": b"3"}


OUTSIDE = ["../evil.txt", "/tmp/twostream-evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:\\evil.txt", "C:evil.txt"]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("suffix", [".zip", ".tar", ".rar"])
def test_paths_that_lead_out_are_refused(tmp_path: Path, name: str, suffix: str) -> None:
    if suffix == ".rar" and not PRESENT:
        pytest.skip("no program for rar")
    write = {".zip": write_zip, ".tar": write_tar, ".rar": write_rar}[suffix]
    (tmp_path / "deep").mkdir()
    archive = write(tmp_path / "deep" / f"evil{suffix}", {"good.txt": b"good", name: b"evil"})
    with pytest.raises(ArchiveError):
        unpack(archive, tmp_path / "deep" / "out")
    assert everything(tmp_path) == {"deep", f"deep/evil{suffix}"}
    assert not Path("/tmp/twostream-evil.txt").exists()


SPECIAL = {
    "symlink": (tarfile.SYMTYPE, "/etc"),
    "hard link": (tarfile.LNKTYPE, "/etc/passwd"),
    "character device": (tarfile.CHRTYPE, ""),
    "block device": (tarfile.BLKTYPE, ""),
    "pipe": (tarfile.FIFOTYPE, ""),
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: str) -> None:
    archive = write_tar(tmp_path / "evil.tar", {"door/passwd": b"evil"}, special={"door": SPECIAL[kind]})
    with pytest.raises(ArchiveError, match="holds 'door', which is neither file nor folder: refused"):
        unpack(archive, tmp_path / "out")
    assert everything(tmp_path) == {"evil.tar"}


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "evil.zip", {"a.txt": b""}, links={"door": "/etc"})
    with pytest.raises(ArchiveError, match="holds 'door', which is neither file nor folder: refused"):
        unpack(archive, tmp_path / "out")
    assert everything(tmp_path) == {"evil.zip"}


@pytest.mark.parametrize("tool", RAR_TOOLS)
def test_links_in_a_rar_are_refused(tmp_path: Path, tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if tool not in PRESENT:
        pytest.skip(f"{tool} is not installed")
    use_only(tool, monkeypatch)
    (tmp_path / "secret").write_text("untouched")
    archive = write_rar(tmp_path / "evil.rar", {"a.txt": b"a"}, links={"door": str(tmp_path / "secret")})
    with pytest.raises(ArchiveError):
        unpack(archive, tmp_path / "out")
    assert everything(tmp_path) == {"evil.rar", "secret"}
    assert (tmp_path / "secret").read_text() == "untouched"


@pytest.mark.parametrize("tool", RAR_TOOLS)
def test_rar_slip(tmp_path: Path, tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that leads out, and then files through it."""
    if tool not in PRESENT:
        pytest.skip(f"{tool} is not installed")
    use_only(tool, monkeypatch)
    (tmp_path / "outside").mkdir()
    links = {"door": str(tmp_path / "outside"), "near": "../outside"}
    archive = write_rar(tmp_path / "slip.rar", {"door/a": b"evil", "near/b": b"evil"}, links=links, slip=True)
    with pytest.raises(ArchiveError, match=r"slip\.rar: "):
        unpack(archive, tmp_path / "out")
    assert everything(tmp_path) == {"slip.rar", "outside"}


def test_a_program_that_writes_too_much_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would write for ever; it is looked at while it works, and nothing stays."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "unrar"
    program.write_text('#!/bin/sh\n[ "$1" = lb ] || while :; do head -c 100000 /dev/zero >> a; sleep 0.01; done\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    use_only("unrar", monkeypatch)
    monkeypatch.setattr(archives, "FREE_BYTES", 100_000)
    monkeypatch.setattr(archives, "LOOK", 0.05)
    with pytest.raises(ArchiveError, match="more comes out than 50 times its size"):
        unpack(write_rar(tmp_path / "bomb.rar", {}), tmp_path / "out")
    assert everything(tmp_path) == {"bomb.rar", "bin", "bin/unrar"}


def test_headers_of_a_tar_are_no_bomb(tmp_path: Path) -> None:
    """tarfile would read what describes a member into memory: 64 MB here, out of 64 KB."""
    with tarfile.open(tmp_path / "bomb.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("x")
        info.type, info.size = tarfile.XHDTYPE, 64 << 20
        archive.addfile(info, io.BytesIO(bytes(64 << 20)))
    with pytest.raises(ArchiveError, match=r"bomb\.tar\.gz: cannot be unpacked \(a header of 67,108,864 bytes\)"):
        unpack(tmp_path / "bomb.tar.gz", tmp_path / "out")


def test_names_alone_fill_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 empty files of 4,096 bytes on disk each, out of 100 KB."""
    monkeypatch.setattr(archives, "FREE_BYTES", 0)
    monkeypatch.setattr(archives, "MAX_RATIO", 1)
    with pytest.raises(ArchiveError, match="more comes out than 1 times its size"):
        unpack(write_zip(tmp_path / "many.zip", {f"{n}": b"" for n in range(1000)}), tmp_path / "out")


def test_a_bomb_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREE_BYTES", 100_000)
    archive = write_tar(tmp_path / "bomb.tar.gz", {"zeros": bytes(20_000_000)})
    assert archive.stat().st_size < 50_000
    with pytest.raises(ArchiveError, match="more comes out than 50 times its size"):
        unpack(archive, tmp_path / "out")
    assert everything(tmp_path) == {"bomb.tar.gz"}


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz", "a.rar"])
def test_archives_that_are_cut_off_or_none(tmp_path: Path, name: str) -> None:
    write = {"zip": write_zip, "rar": write_rar}.get(name.split(".")[-1], write_tar)
    whole = write(tmp_path / name, {"one": b"1" * 5000, "two": os.urandom(5000)}).read_bytes()
    flipped = whole[:20] + bytes([whole[20] ^ 0xFF, whole[21] ^ 0xFF]) + whole[22:]
    with_sums = [flipped] if name.endswith(("bz2", "xz")) else []
    for damaged in (whole[: len(whole) // 2], *with_sums, b"<html>404</html>", b""):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(ArchiveError, match=r"cannot be unpacked|needs one of"):
            unpack(tmp_path / name, tmp_path / "out")
        assert everything(tmp_path) == {name}
