"""Every engine makes the same file, tells the same mistakes, and outlives its workers."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import synthetic
from models import colour_model, unet_model
from sat2map import errors
from sat2map.engines import ENGINES
from sat2map.errors import BadOption, ModelError, OutputError, SceneError, WorkerLost
from sat2map.jobs import Job
from sat2map.options import PredictOptions
from sat2map.prediction import predict, predict_all
from sat2map.sinks import Sink

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Start Ray with two processors; return its address."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        told = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        yield told.address_info["gcs_address"]
        assert ray.is_initialized(), "what was found running is left running"
        ray.shutdown()


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return synthetic.geotiff(tmp_path / "scene.tif", synthetic.landscape(1, 180))


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unet_model(tmp_path_factory.mktemp("unet")).folder


@pytest.mark.parametrize("engine", ENGINES)
def test_all_make_the_same_file(tmp_path, cluster, scene, unet, engine):
    files = []
    for name, more in (("whole", {}), ("cut", {"engine": engine, "block": 50, "workers": 3})):
        scores = tmp_path / f"{name}-scores.tif"
        made = predict(scene, tmp_path / f"{name}.tif", model=unet, window=32, scores=scores, **more)
        files.append((made.map.read_bytes(), scores.read_bytes()))
    assert files[0] == files[1]


@pytest.mark.parametrize("engine", ENGINES)
def test_mistakes_of_the_user_arrive(tmp_path, cluster, scene, unet, engine):
    with pytest.raises(ModelError, match=r"multiples of 32 pixels, not of 50. Give another --window"):
        predict(scene, tmp_path / "map.tif", model=unet, window=50, runtime="openvino", engine=engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_each_of_many_scenes_is_mapped(tmp_path, cluster, monkeypatch, engine):
    model = colour_model(tmp_path / "model").folder
    for i in range(3):
        synthetic.geotiff(tmp_path / f"scene{i}.tif", synthetic.landscape(i, 70))
    monkeypatch.chdir(tmp_path)  # workers run elsewhere
    made = predict_all("scene*.tif", "maps", model="model", engine=engine, workers=4)
    for i, one in enumerate(made):
        assert one.map.read_bytes() == predict(f"scene{i}.tif", f"{i}.tif", model=model).map.read_bytes()
    assert len(made) == 3 and predict_all("scene*.tif", "maps", model="model", engine=engine) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_a_damaged_scene_among_many_is_told(tmp_path, cluster, engine):
    model = colour_model(tmp_path / "model").folder
    for i in range(4):
        path = synthetic.geotiff(tmp_path / f"scene{i}.tif", synthetic.landscape(i, 70))
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(SceneError, match=r"scene3.tif"):
        predict_all(str(tmp_path / "scene*.tif"), tmp_path / "maps", model=model, engine=engine, workers=2)
    assert not (tmp_path / "maps" / "scene3.tif").exists()


@pytest.mark.parametrize("engines", [("local", "ray"), ("ray", "local"), ("ray", "ray")])
def test_a_map_goes_on_with_whatever_engine(tmp_path, cluster, scene, monkeypatch, engines):
    model = colour_model(tmp_path / "model").folder
    whole = predict(scene, tmp_path / "whole.tif", model=model).map.read_bytes()
    write, windows = Sink.write, []

    def written(self, window, block):
        windows.append(window)
        if len(windows) == 3:
            raise OutputError("the disk is gone")
        write(self, window, block)

    monkeypatch.setattr(Sink, "write", written)
    with pytest.raises(OutputError, match="the disk is gone"):
        predict(scene, tmp_path / "map.tif", model=model, engine=engines[0], block=50, workers=1)
    made = predict(scene, tmp_path / "map.tif", model=model, engine=engines[1], block=50, workers=1)
    assert made.map.read_bytes() == whole
    assert not {*windows[:2]} & {*windows[3:]}


def test_workers_get_paths_from_the_root_and_addresses_as_they_are(tmp_path, monkeypatch):
    from sat2map.engines.ray import _anywhere

    monkeypatch.chdir(tmp_path)
    for path, sent in (("a.gpkg", str(tmp_path / "a.gpkg")), *((u, u) for u in ("https://x.org/a.gpkg", "/vsizip/a"))):
        job = _anywhere(Job(path, "model", PredictOptions(aoi=path)))
        assert (job.path, job.options.aoi, job.model_path) == (sent, sent, str(tmp_path / "model"))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds workers by /proc")
def test_the_same_file_after_workers_were_killed(tmp_path, cluster, scene, monkeypatch):
    model = colour_model(tmp_path / "model").folder
    whole = predict(scene, tmp_path / "whole.tif", model=model).map.read_bytes()
    write, strips, killed = Sink.write, [], []

    def kill_at(self, window, block):
        strips.append(window)
        if len(strips) in (10, 20):
            killed.extend(workers()[-1:])
            os.kill(killed[-1], signal.SIGKILL)
        write(self, window, block)

    monkeypatch.setattr(Sink, "write", kill_at)
    made = predict(scene, tmp_path / "map.tif", model=model, engine="ray", workers=2, block=30)
    assert len(strips) > 30 and len(set(killed)) == 2
    assert made.map.read_bytes() == whole


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds workers by /proc")
def test_what_kills_every_worker_ends_the_job(tmp_path, cluster, scene, monkeypatch):
    from sat2map.engines import cluster as made_of

    fetch = made_of.fetch

    def fetch_from_the_dead(where):
        for pid in workers():
            os.kill(pid, signal.SIGKILL)
        return fetch(where)

    monkeypatch.setattr(made_of, "fetch", fetch_from_the_dead)
    monkeypatch.setattr("sat2map.engines.ray.RETRIES", 1)
    model = colour_model(tmp_path / "model").folder
    with pytest.raises(WorkerLost, match=r"A worker was lost .*go on with the same command"):
        predict(scene, tmp_path / "map.tif", model=model, engine="ray", workers=1)


def workers() -> list[int]:
    """Return the processes of our workers."""
    parents, found = {}, []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = int(stat.parent.name), stat.read_text().rpartition(")")[2].split()
            parents[pid] = int(rest[1])
            if (stat.parent / "cmdline").read_bytes().startswith(b"ray::Worker"):
                found.append(pid)
        except OSError:  # it has just ended
            continue
    return sorted(pid for pid in found if parents.get(parents[pid]) == os.getpid())


def test_a_driver_joins_a_cluster_and_needs_no_torch(tmp_path, cluster, scene):
    model = colour_model(tmp_path / "model").folder
    words = ["predict", str(scene), str(tmp_path / "map.tif"), "--model", str(model), "--engine", "ray"]
    code = f"import sys; from sat2map.cli import run; code = run({[*words, '--address', cluster]})"
    done = subprocess.run(
        [sys.executable, "-c", code + "; sys.exit(code or 'torch' in sys.modules)"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    told = [line for line in done.stderr.splitlines() if not line.startswith("Waiting for a worker: ")]  # if it is busy
    assert (done.returncode, told) == (0, [])
    assert done.stdout.startswith("OpenVINO on the processor in ") and ", Ray: 32,400 pixels" in done.stdout


def test_a_cluster_that_is_not_there_is_told(tmp_path, scene, monkeypatch):
    if ray.is_initialized():
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: (_ for _ in ()).throw(ConnectionError("nobody answers at x:1.")))
    model = colour_model(tmp_path / "model").folder
    with pytest.raises(BadOption, match=r"The Ray cluster 'x:1' cannot be joined: nobody answers at x:1. See"):
        predict(scene, tmp_path / "map.tif", model=model, engine="ray", address="x:1")


@pytest.mark.parametrize(
    ("cpus", "count", "each"),
    [
        ((2,), 1, 2),
        ((2,), 2, 1),
        ((2,), 5, 1 / 3),
        ((16, 16, 16), 3, 16),
        ((16, 16, 16), 4, 8),
        ((16, 4), 2, 8),
        ((16, 4), 3, 5),
        ((16, 4), 5, 4),
    ],
)
def test_workers_share_machines_without_stretching_over_two(cpus, count, each):
    from sat2map.engines.cluster import share

    got = share([{"CPU": float(c)} for c in cpus], count)
    assert got == {"num_cpus": pytest.approx(each), "num_gpus": 0}
    assert sum(np.floor(c / each + 1e-9) for c in cpus) >= count


def test_each_worker_gets_a_gpu_where_there_are_some():
    from sat2map.engines.cluster import share

    assert share([{"CPU": 16.0, "GPU": 2.0}] * 2, 4) == {"num_cpus": 8, "num_gpus": 1}


ERRORS = [c for c in vars(errors).values() if c.__class__ is type and issubclass(c, errors.Sat2mapError)]
MADE = {"MissingExtra": ("Serving", "serve"), "UnknownName": ("network", "unte", ["unet", "fpn"])}


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_go_from_process_to_process(kind):
    error = kind(*MADE.get(kind.__name__, ("What came. What to do.",)))
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back)) == (kind, str(error))
