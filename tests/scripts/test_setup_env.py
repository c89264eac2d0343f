"""The set-up: where torch comes from, what a checkout must hold, and what is repaired. pip is real, the indexes are on the loopback."""

from __future__ import annotations

import hashlib
import http.server
import importlib
import io
import os
import shutil
import subprocess
import sys
import threading
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TORCH = "torch-2.13.0+cpu-py3-none-any.whl"
TINY = "tiny-1.0-py3-none-any.whl"


@pytest.fixture
def setup_env(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("setup_env")


@pytest.fixture
def environment(tmp_path):
    """A new environment with the pip of this one."""
    pip = pytest.importorskip("pip")
    home = tmp_path / "environment"
    venv.EnvBuilder(symlinks=True).create(home)
    (site_of(home) / "pip").symlink_to(Path(pip.__file__).parent)
    return home


@pytest.fixture
def checkout(tmp_path, setup_env, monkeypatch):
    """A checkout of a few small files, in place of this one."""
    root = tmp_path / "checkout"
    (root / "versatune").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    (root / "versatune" / "__init__.py").touch()
    for room in setup_env.ROOMS:
        (root / room).mkdir()
        (root / room / "__init__.py").touch()
        (root / "versatune" / room).symlink_to(f"../{room}")
    monkeypatch.setattr(setup_env, "ROOT", root)
    return root


class Server:
    """An HTTP server on the loopback that remembers what it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                content = outer.files.get(self.path)
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/zip")
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def add(self, index: str, project: str, name: str, content: bytes) -> None:
        """Put a wheel on the page of its project, with its sha256, as indexes do."""
        quoted = name.replace("+", "%2B")
        link = f'<a href="../../files{index}/{quoted}#sha256={sha256(content)}">{name}</a>'
        self.files[f"{index}/{project}/"] = f"<!DOCTYPE html><html><body>{link}</body></html>".encode()
        depth = index.strip("/").split("/")[:-1]
        self.files["/".join(["", *depth, f"files{index}", quoted])] = content

    def asked_at(self, index: str) -> list[str]:
        return [path for path in self.asked if path.startswith(index) or f"files{index}" in path]


@pytest.fixture
def server():
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, daemon=True)
    thread.start()
    yield made
    made.http.shutdown()
    made.http.server_close()
    thread.join()


@pytest.fixture
def lock(tmp_path, setup_env, server, monkeypatch):
    """A lock of two packages; pip's own index has one of them, and nothing else is configured."""
    for name in os.environ:
        if name.upper().startswith(("PIP_", "VERSATUNE_")) or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/own")
    monkeypatch.setenv("VERSATUNE_TORCH_INDEX", f"{server.url}/torch")
    torch, tiny = wheel_of("torch", "2.13.0+cpu"), wheel_of("tiny", "1.0")
    server.add("/own", "tiny", TINY, tiny)
    file = tmp_path / "lock.txt"
    file.write_text(
        f"tiny==1.0 \\\n    --hash=sha256:{sha256(tiny)}\ntorch==2.13.0+cpu \\\n    --hash=sha256:{sha256(torch)}\n"
    )
    monkeypatch.setattr(setup_env, "LOCK", file)
    return file


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def site_of(home):
    return home / "lib" / "python{}.{}".format(*sys.version_info[:2]) / "site-packages"


def wheel_of(package, version, *, text=""):
    """The smallest wheel that pip installs."""
    info = f"{package}-{version}.dist-info"
    files = {
        f"{package}/__init__.py": text,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, content in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return memory.getvalue()


def installed(home):
    return {path.name for path in site_of(home).glob("*.dist-info")}


def test_torch_of_pips_own_places_is_taken_and_no_other_index_is_asked(
    environment, lock, server, setup_env, tmp_path, monkeypatch
):
    (tmp_path / TORCH).write_bytes(wheel_of("torch", "2.13.0+cpu"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    folder = setup_env.fetch_torch(environment, setup_env.locked(lock)[1])
    assert [path.name for path in folder.iterdir()] == [TORCH]
    assert not server.asked_at("/torch")


def test_torch_that_pip_does_not_find_comes_from_the_other_index_and_nothing_else_does(
    environment, lock, server, setup_env, capsys
):
    server.add("/torch", "torch", TORCH, wheel_of("torch", "2.13.0+cpu"))
    setup_env.install_lock(environment)
    assert installed(environment) == {"torch-2.13.0+cpu.dist-info", "tiny-1.0.dist-info"}
    said = f"does not find torch==2.13.0+cpu in its own places: asking {server.url}/torch for this one package"
    assert said in capsys.readouterr().err
    assert set(server.asked_at("/torch")) == {"/torch/torch/", f"/files/torch/{TORCH.replace('+', '%2B')}"}
    assert server.asked[0] == "/own/torch/"
    assert "/own/tiny/" in server.asked
    assert not list(environment.glob("versatune-*"))  # what was downloaded and listed on the way is gone


def test_another_file_under_the_name_of_torch_is_refused(environment, lock, server, setup_env):
    server.add("/torch", "torch", TORCH, wheel_of("torch", "2.13.0+cpu", text="tampered = True"))
    with pytest.raises(SystemExit, match=r"DO NOT MATCH THE HASHES[\s\S]*serves another file under this version"):
        setup_env.install_lock(environment)
    assert not installed(environment)
    assert "/own/tiny/" not in server.asked


def test_another_file_in_pips_own_places_is_told_of_and_not_passed_over(
    environment, lock, server, setup_env, tmp_path, monkeypatch
):
    server.add("/torch", "torch", TORCH, wheel_of("torch", "2.13.0+cpu"))
    (tmp_path / TORCH).write_bytes(wheel_of("torch", "2.13.0+cpu", text="another = True"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(SystemExit, match=r"where pip looks: THESE PACKAGES DO NOT MATCH THE HASHES[\s\S]* Got "):
        setup_env.install_lock(environment)
    assert not server.asked_at("/torch")


def test_torch_that_is_nowhere_stops_the_set_up_before_anything_else_is_asked_for(environment, lock, server, setup_env):
    with pytest.raises(SystemExit) as stop:
        setup_env.install_lock(environment)
    own, other = [line for line in stop.value.code.splitlines() if "No matching distribution found" in line]
    assert own.strip().startswith(
        "where pip looks: No matching distribution found for torch==2.13.0+cpu; Could not fetch"
    )
    assert other.strip().startswith(f"{server.url}/torch: ")
    for advice in ("HTTPS_PROXY", "VERSATUNE_TORCH_INDEX=URL", "PIP_FIND_LINKS=FOLDER", setup_env.TORCH_INDEX):
        assert advice in stop.value.code
    assert server.asked == ["/own/torch/", "/torch/torch/"]


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("PIP_NO_INDEX", "1", "it is told to use no index"),
        ("VERSATUNE_TORCH_INDEX", "", "No matching distribution found"),
    ],
)
def test_other_index_is_not_asked_against_the_users_will(
    environment, lock, server, setup_env, monkeypatch, variable, value, said
):
    server.add("/torch", "torch", TORCH, wheel_of("torch", "2.13.0+cpu"))
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit, match=f"where pip looks: .*{said}"):
        setup_env.install_lock(environment)
    assert not server.asked_at("/torch")


def test_no_connection_is_the_reason_that_is_given(environment, lock, server, setup_env, monkeypatch):
    nobody = "http://127.0.0.1:9"
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_INDEX_URL", nobody)
    monkeypatch.setenv("VERSATUNE_TORCH_INDEX", f"{nobody.replace('//', '//me:secret@')}/torch")
    with pytest.raises(SystemExit) as stop:
        setup_env.install_lock(environment)
    assert stop.value.code.count("Connection refused") == 2
    assert "secret" not in stop.value.code


def test_package_that_cannot_be_had_is_named_by_pips_own_message(
    environment, lock, server, setup_env, tmp_path, monkeypatch
):
    (tmp_path / TORCH).write_bytes(wheel_of("torch", "2.13.0+cpu"))
    monkeypatch.setattr(setup_env, "fetch_torch", lambda *_: tmp_path)
    del server.files["/own/tiny/"]
    with pytest.raises(
        SystemExit, match=r"failed with exit code 1:\n[\s\S]*No matching distribution found for tiny==1.0"
    ):
        setup_env.install_lock(environment)


def test_stamp_is_written_last_and_what_is_stamped_is_not_done_again(tmp_path, checkout, setup_env, monkeypatch):
    done = []
    home = tmp_path / "home"

    def make(place):
        done.append("packages")
        place.mkdir(exist_ok=True)

    def die(_):
        sys.exit("killed")

    monkeypatch.setattr(sys, "argv", ["setup_env.py", str(home)])
    monkeypatch.setattr(setup_env, "check_python", lambda: None)
    monkeypatch.setattr(setup_env, "LOCK", checkout / "pyproject.toml")
    monkeypatch.setattr(setup_env, "make_venv", make)
    monkeypatch.setattr(setup_env, "install_wheel", lambda _: done.append("wheel"))
    monkeypatch.setattr(setup_env, "install_lock", die)
    with pytest.raises(SystemExit):
        setup_env.main()
    monkeypatch.setattr(setup_env, "install_lock", lambda _: None)
    setup_env.main()
    setup_env.main()
    assert done == ["packages", "packages", "wheel"]
    (checkout / "mixing" / "__init__.py").write_text("changed = True\n")
    setup_env.main()
    assert done == ["packages", "packages", "wheel", "wheel"]


def test_interpreter_without_ensurepip_is_refused_with_the_package_that_brings_it(setup_env, monkeypatch):
    monkeypatch.setattr(setup_env.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else object())
    with pytest.raises(SystemExit, match=r"lacks the module ensurepip, .*apt install python3\.11-venv"):
        setup_env.check_venv_module()


def test_sources_are_listed_once_and_a_broken_link_does_no_harm(checkout, setup_env):
    (checkout / "schemas" / "config.py").touch()
    (checkout / "schemas" / "gone.json").symlink_to("nowhere.json")
    (checkout / "versatune" / "round").symlink_to(".")
    names = [path.relative_to(checkout).as_posix() for path in setup_env.source_files()]
    assert sorted(set(names)) == sorted(names)
    assert "schemas/config.py" in names
    assert "versatune/schemas/config.py" not in names
    setup_env.check_rooms()
    setup_env.digest(setup_env.source_files())


def test_sources_of_this_checkout_are_listed_once(setup_env):
    names = [path.resolve() for path in setup_env.source_files()]
    assert len(set(names)) == len(names) > 100


def test_checkout_without_links_is_refused_with_how_to_mend_it(checkout, setup_env):
    (checkout / "versatune" / "schemas").unlink()
    (checkout / "versatune" / "schemas").write_text("../schemas")  # so do tools that cannot make links
    (checkout / "versatune" / "mixing").unlink()
    with pytest.raises(SystemExit, match="versatune/schemas, versatune/mixing leads nowhere") as stop:
        setup_env.check_rooms()
    subprocess.run(["bash", "-c", stop.value.code.partition("or make them: ")[2]], check=True)
    setup_env.check_rooms()


def test_checkout_whose_links_became_copies_is_used_as_it_is(checkout, setup_env):
    (checkout / "versatune" / "mixing").unlink()
    shutil.copytree(checkout / "mixing", checkout / "versatune" / "mixing")
    setup_env.check_rooms()
    assert checkout / "versatune" / "mixing" / "__init__.py" in set(setup_env.source_files())


def test_half_moved_environment_holds_the_new_wheel_only(environment, checkout, lock, setup_env, monkeypatch):
    if sys.version_info[:2] != setup_env.PYTHON:
        pytest.skip("the set-up makes environments of Python 3.11")
    site = site_of(environment)
    for name in (*setup_env.ROOMS, "versatune", "versatune/old_room", "numpy"):
        (site / name).mkdir()
        (site / name / "__init__.py").touch()
    for version in ("0.0.9", "0.1.0"):  # neither has a RECORD, so that pip could not uninstall them
        (site / f"versatune-{version}.dist-info").mkdir()
        (site / f"versatune-{version}.dist-info" / "METADATA").write_text(f"Name: versatune\nVersion: {version}\n")
    real = setup_env.run

    def run(*command, cwd=None):
        if "hatchling" not in command:
            return real(*command, cwd=cwd)
        (environment / "versatune-dist").mkdir()
        wheel = environment / "versatune-dist" / "versatune-0.1.0-py3-none-any.whl"
        return wheel.write_bytes(wheel_of("versatune", "0.1.0", text="new = True\n"))

    monkeypatch.setattr(setup_env, "run", run)
    setup_env.install_wheel(environment)
    assert {path.name for path in site.iterdir()} == {"pip", "numpy", "versatune", "versatune-0.1.0.dist-info"}
    assert (site / "versatune" / "__init__.py").read_text() == "new = True\n"
    assert not (site / "versatune" / "old_room").exists()
    assert (site / "versatune-0.1.0.dist-info" / "RECORD").exists()


def die(*_):
    raise KeyboardInterrupt


def test_environment_whose_removal_was_killed_is_ours_and_not_taken_for_complete(tmp_path, setup_env, monkeypatch):
    home = tmp_path / "home"
    (home / "lib").mkdir(parents=True)
    (home / "pyvenv.cfg").touch()
    setup_env.write_stamp(home, "lock", "abc")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(setup_env.shutil, "rmtree", die)
        setup_env.empty(home)
    assert setup_env.read_stamp(home, "lock") == ""
    assert (home / "lib").exists()
    assert setup_env.is_ours(home)
    setup_env.empty(home)
    assert [path.name for path in home.iterdir()] == [setup_env.MARK]


def test_set_up_that_is_killed_while_python_makes_the_environment_is_recognised(tmp_path, setup_env, monkeypatch):
    home = tmp_path / "home"
    real = setup_env.run
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(setup_env, "run", die)
        setup_env.make_venv(home)
    (home / "lib").mkdir()  # something Python has begun with
    monkeypatch.setattr(setup_env, "run", lambda *command: real(*command, "--without-pip"))
    setup_env.make_venv(home)
    assert setup_env.is_ours(home)
    assert (home / "pyvenv.cfg").exists()
    assert Path(setup_env.python_of(home)).exists()


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("versatune-wheel.sha256", True),
        ("versatune-lock.old", True),
        ("versatune-lock-torch.txt", True),
        ("versatune-lock-7.txt", True),
        ("versatune-notes.txt", False),
        ("versatune-lock-notes.txt", False),
        ("pyvenv.cfg", False),
    ],
)
def test_environment_of_an_earlier_version_is_told_by_what_that_wrote(tmp_path, setup_env, name, ours):
    (tmp_path / name).touch()
    assert setup_env.is_ours(tmp_path) == ours


@pytest.mark.parametrize("name", [".venv", "elsewhere"])
def test_environment_of_the_user_is_refused_and_left_alone(checkout, setup_env, monkeypatch, name):
    home = checkout / name
    venv.EnvBuilder(symlinks=True).create(home)
    (home / "versatune-notes.txt").touch()
    before = sorted(checkout.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["setup_env.py", *([] if name == ".venv" else [str(home)])])
    with pytest.raises(SystemExit, match=rf"{home} is there already, and set-up has not made it.* VENV=FOLDER"):
        setup_env.main()
    with pytest.raises(SystemExit, match="set-up has not made it"):
        setup_env.make_venv(home)
    assert sorted(checkout.rglob("*")) == before


@pytest.mark.parametrize("exists", [True, False])
def test_environment_may_lie_behind_a_link(tmp_path, checkout, setup_env, monkeypatch, exists):
    large = tmp_path / "large" / "environment"
    if exists:
        (large / "bin").mkdir(parents=True)
        setup_env.write_stamp(large, "lock", "of another place")
    (checkout / ".venv").symlink_to(large)
    monkeypatch.setattr(sys, "argv", ["setup_env.py"])
    monkeypatch.setattr(setup_env, "LOCK", checkout / "pyproject.toml")
    for name in ("check_python", "check_disk", "install_lock", "install_wheel", "run"):
        monkeypatch.setattr(setup_env, name, lambda *_: None)
    setup_env.main()
    setup_env.main()
    assert (checkout / ".venv").readlink() == large
    names = {setup_env.MARK, "versatune-lock.sha256", "versatune-wheel.sha256"}
    assert {path.name for path in (checkout / ".venv").iterdir()} == names
    assert (tmp_path / "large" / "environment.lock").exists()
    assert not (checkout / ".venv.lock").exists()


def test_lock_beside_an_environment_leaves_a_file_of_that_name_as_it_is(tmp_path, setup_env):
    (tmp_path / "poetry.lock").write_text("of the user")
    with setup_env.only_one(tmp_path / "poetry"):
        pass
    assert (tmp_path / "poetry.lock").read_text() == "of the user"
