"""The store: made once, taken up again, and clear about a disk that will not have it."""

from __future__ import annotations

import errno
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tuneladder.errors import BadInput, Failed, NoRoom
from tuneladder.store import Store, digest, freeze, thaw, whole, write_json, write_lines, writing
from tuneladder.types import Answer, Cost, Marked, Measurement, Score


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def made(store):
    return sorted(path.name for path in store.root.iterdir() if path.is_dir())


def test_made_once(store):
    calls = []

    def make(part):
        calls.append(part.name)
        (part / "thing").write_text("made")
        return {"seconds": 1.0}

    folder = store.once("key", make)
    assert store.once("key", make) == folder == store.find("key")
    assert calls == ["key.part"]
    assert json.loads((folder / "done.json").read_text()) == {"seconds": 1.0, "budget": None, "files": {"thing": 4}}
    assert made(store) == ["key"]


@pytest.mark.parametrize("harm", ["cut", "gone", "done"])
def test_what_was_damaged_is_made_again(store, harm):
    def make(part):
        (part / "deep").mkdir(exist_ok=True)
        (part / "deep" / "weights").write_text("made")
        return {}

    folder = store.once("key", make)
    if harm == "cut":
        (folder / "deep" / "weights").write_text("ma")
    elif harm == "gone":
        (folder / "deep" / "weights").unlink()
    else:
        (folder / "done.json").write_text('{"budget": ')
    assert store.find("key") is None
    assert (store.once("key", make) / "deep" / "weights").read_text() == "made"
    assert store.find("key") == folder
    assert made(store) == ["key"]


def stop_in(place):
    place.write_text("half")
    raise ValueError("halfway")


def test_what_breaks_while_it_is_written_leaves_what_was_there(tmp_path, monkeypatch):
    file = tmp_path / "deep" / "rows.jsonl"
    assert write_lines(file, [{"a": 1}]) == 1

    def breaks(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(TypeError):
        write_lines(file, [{"a": 2}, {"a": object()}])
    with pytest.raises(ValueError, match="halfway"), whole(file) as place:
        stop_in(place)
    monkeypatch.setattr(os, "replace", breaks)
    for write in (lambda: write_lines(file, [{"a": 3}]), lambda: write_json(file, {"a": 3})):
        with pytest.raises(NoRoom):
            write()
    assert file.read_text() == '{"a": 1}\n'
    assert [path.name for path in file.parent.iterdir()] == ["rows.jsonl"]


def test_a_try_that_broke_is_taken_up_where_it_was(store):
    def breaks(part):
        (part / "checkpoint").write_text("halfway")
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        store.once("key", breaks)
    assert store.find("key") is None
    (store.root / "key.part" / "checkpoint.99.tmp").write_text("half of another, which a kill left")

    def goes_on(part):
        assert not list(part.glob("*.tmp"))
        return {"found": (part / "checkpoint").read_text()}

    assert json.loads((store.once("key", goes_on) / "done.json").read_text())["found"] == "halfway"


def test_killed_before_the_rename_it_is_only_named(store, monkeypatch):
    def refuse(source, target):
        if str(source).endswith(".part"):
            raise KeyboardInterrupt
        rename(source, target)

    rename = os.rename
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        with pytest.raises(KeyboardInterrupt):
            store.once("key", lambda part: {"seconds": 1.0})
    (store.root / "key.part" / "done.json.99.tmp").write_text("half")
    folder = store.once("key", lambda part: pytest.fail("it was made already"))
    assert [path.name for path in folder.iterdir()] == ["done.json"]


def test_cut_by_a_budget(store):
    def make(part):
        at = int((part / "at").read_text()) if (part / "at").exists() else 0
        (part / "at").write_text(str(at + 3))
        return {"cut": at + 3 if at + 3 < 9 else None}

    first = store.once("key", make, budget=10.0)
    assert first.name == "key@3"
    assert store.find("key") is None
    assert store.once("key", make, budget=10.0) == first
    assert store.once("key", make, budget=5.0) == first
    second = store.once("key", make, budget=20.0)
    assert second.name == "key@6"
    assert (first / "at").read_text() == "3"  # a named folder never changes
    done = store.once("key", make)
    assert done.name == "key"
    assert (done / "at").read_text() == "9"
    assert store.once("key", make, budget=1.0) == done
    assert made(store) == ["key", "key@3", "key@6"]


def test_killed_while_a_cut_node_is_copied(store, monkeypatch):
    store.once("key", lambda part: {"cut": (part / "weights").write_text("12345")}, budget=1.0)

    def half(source, target, **named):
        os.mkdir(target)
        (target / "weights").write_text("12")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copytree", half)
        with pytest.raises(KeyboardInterrupt):
            store.once("key", dict, budget=2.0)
    folder = store.once("key", lambda part: {"read": (part / "weights").read_text()}, budget=2.0)
    assert json.loads((folder / "done.json").read_text())["read"] == "12345"
    assert made(store) == ["key", "key@5"]


def test_two_at_once_make_it_once(store):
    calls = []
    gate = threading.Barrier(4)

    def make(part):
        calls.append(1)
        return {}

    def run():
        gate.wait()
        Store(store.root).once("key", make)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_it_can_be_moved(store, tmp_path):
    store.once("key", lambda part: {})
    store.root.rename(tmp_path / "elsewhere")
    assert Store(tmp_path / "elsewhere").find("key")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        Failed("SafetensorError: Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_said_and_the_work_goes_on_later(store, error):
    def make(part):
        (part / "checkpoint").write_text("halfway")
        raise error

    with pytest.raises(NoRoom, match="is full") as caught:
        store.once("key", make)
    assert caught.value.exit_code == 3
    assert "run the same command" in caught.value.hint
    assert store.once("key", lambda part: {"found": (part / "checkpoint").exists()})


def test_a_folder_that_cannot_be_written_in(tmp_path, monkeypatch):
    def refuse(self, *given, **named):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(BadInput, match=r"cannot write in .*Permission denied") as caught:
        Store(tmp_path / "store")
    assert caught.value.exit_code == 2


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "store").write_text("")
    for place in (tmp_path / "store", tmp_path / "store" / "deeper"):
        with pytest.raises(BadInput, match="store is in the way: it is not a folder"):
            Store(place)


def test_what_is_not_about_the_folder_stays_as_it_was(tmp_path):
    with pytest.raises(PermissionError), writing(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/rows.csv")
    with pytest.raises(ValueError, match="other"), writing(tmp_path):
        raise ValueError("other")


def test_digests_know_order_kind_and_bytes():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert len({digest("1"), digest(1), digest("1", ""), digest(b"2"), digest(["1"]), digest(Cost()), digest({})}) == 7
    assert digest("é\ud800") != digest("é")


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "results.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["results.json"]


def test_nouns_come_back_as_they_were():
    answers = (Marked("1", "in", "yes", Answer("no", 0.25, " no"), False),)
    noun = Measurement({"accuracy": Score(0.5, 0.1, 0.9, 7, "wilson")}, {}, None, Cost(1.5, 7), Cost(), "local", answers)
    assert thaw(Measurement, json.loads(json.dumps(freeze(noun)))) == noun


def test_a_noun_is_found_once_and_read_back_as_it_was(store):
    asked = []

    def find():
        asked.append(1)
        return {"dev": Cost(seconds=1.5, memory=3)}

    first, second = (store.noun("costs-1a", dict[str, Cost], find) for _ in range(2))
    assert first == second == {"dev": Cost(seconds=1.5, memory=3)}
    assert asked == [1]
    assert json.loads((store.root / "costs-1a" / "costs.json").read_text())["dev"]["seconds"] == 1.5


def test_a_link_stays_one_and_a_pipe_is_written_to(tmp_path):
    kept, link, pipe = tmp_path / "there" / "kept.jsonl", tmp_path / "rows.jsonl", tmp_path / "pipe"
    kept.parent.mkdir()
    link.symlink_to(kept)
    write_lines(link, [{"a": 1}])
    assert link.is_symlink()
    assert kept.read_text() == '{"a": 1}\n'
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as other:
        said = other.submit(pipe.read_text)
        write_lines(pipe, [{"a": 2}])
        assert said.result(10) == '{"a": 2}\n'
    assert not pipe.is_file()
