"""Real Ray (pip install ray): deploy/ray_encode.py on a cluster of several local nodes, one of which is removed in
mid-run. The output is compared with that of a single undisturbed run.

    python test/trials/ray_cluster.py IMAGES_FOLDER
"""

import filecmp
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import ray
from ray.cluster_utils import Cluster

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy"))
import ray_encode  # noqa: E402

images = str(pathlib.Path(sys.argv[1]).resolve())
work = pathlib.Path(tempfile.mkdtemp(prefix="vtp-ray-"))
command = ["node", str(ROOT / "bin" / "run.js")]
flags = ["--shard-rows", "25", "--transform", "resize(64,64,bilinear)", "--image-size", "64"]

subprocess.run([*command, "encode", images, "--out", str(work / "single"), *flags, "--workers", "1"], check=True)

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80 * 2**20})
nodes = [cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20) for _ in range(3)]
cluster.wait_for_nodes()
ray.init(address=cluster.address, runtime_env={"env_vars": {"PYTHONPATH": str(ROOT / "deploy")}})
print(f"ray {ray.__version__}, {len([n for n in ray.nodes() if n['Alive']])} nodes")


def remove_a_node():
    # When a third of the commits is there, a node dies with the tasks that run on it.
    commits = work / "out" / "_vtp" / "commits"
    total = len(list((work / "single" / "_vtp" / "commits").iterdir()))
    while not commits.exists() or len(list(commits.iterdir())) < total / 3:
        time.sleep(0.1)
    done = len(list(commits.iterdir()))
    cluster.remove_node(nodes[0], allow_graceful=False)
    print(f"one node removed when {done} of {total} units were committed", flush=True)


remover = threading.Thread(target=remove_a_node)
remover.start()
totals = ray_encode.run(command, [images, "--out", str(work / "out"), *flags], ["--workers", "1"], units_per_task=2)
remover.join()
print(totals)
print(f"{len([n for n in ray.nodes() if n['Alive']])} nodes are left")
names = [p.name for p in (work / "single").iterdir() if p.is_file()]
same, different, missing = filecmp.cmpfiles(work / "single", work / "out", names, shallow=False)
assert not different and not missing, (different, missing)
subprocess.run([*command, "verify", str(work / "out")], check=True)
print(f"{len(same)} files, the manifest included, are those of the single run")
ray.shutdown()
cluster.shutdown()
shutil.rmtree(work)
