"""What the reference programs make of the features and images that set-metrics.ts writes into a folder.

    set_metrics.py FOLDER GUIDED_DIFFUSION

a.npy and b.npy hold features of two sets, logits.npy those of the second, photographs lie in photos/. Prints one
JSON object: torch-fidelity's KID, Inception Score, precision and recall, clean-fid's KID, pytorch-fid's FID, and
the numbers of guided-diffusion's evaluations/evaluator.py (GUIDED_DIFFUSION is a clone). That file runs as it is;
TensorFlow, which it needs for three products alone, is replaced by the same products in NumPy. clean-fid's resized
photographs are written into resized/ as float32, channels last.
"""

import json
import os
import sys
import types
from unittest import mock

import numpy as np
import torch
from cleanfid.fid import kernel_distance
from cleanfid.resize import build_resizer
from PIL import Image
from pytorch_fid.fid_score import calculate_frechet_distance
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

folder, clone = sys.argv[1:3]
read = lambda name: np.load(os.path.join(folder, name + ".npy"))  # noqa: E731
a32, b32, logits32 = read("a"), read("b"), read("logits")
a, b, logits = (x.astype(np.float64) for x in (a32, b32, logits32))


def torch_fidelity(a, b, logits):
    a, b, logits = (torch.from_numpy(x) for x in (a, b, logits))
    all_of = dict(kid_subsets=1, kid_subset_size=min(len(a), len(b)), verbose=False)
    # Its first set is the generated one.
    prc = prc_features_to_metric(b, a, prc_neighborhood=3, verbose=False)
    return {
        "kid": kid_features_to_metric(a, b, **all_of)["kernel_inception_distance_mean"],
        "kidSubsets": kid_features_to_metric(a, b, kid_subsets=100, kid_subset_size=200, verbose=False)[
            "kernel_inception_distance_mean"
        ],
        "is": isc_features_to_metric(logits, shuffle=False),
        "isShuffled": isc_features_to_metric(logits),
        "precision": prc["precision"],
        "recall": prc["recall"],
    }


class FakeSession:
    """Runs the softmax; the graph's other nodes are not asked for."""

    def run(self, softmax, feed_dict):
        (acts,) = feed_dict.values()
        e = np.exp(acts - acts.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)


class Distances:
    """DistanceBlock in NumPy. The evaluator takes float16 wherever that is finite."""

    def __init__(self, dtype):
        self.dtype = dtype

    def pairwise_distances(self, u, v):
        # Sums in float32, rounded to the type, as TensorFlow's kernels for float16 do.
        wide = np.float32 if self.dtype == np.float16 else self.dtype
        t = lambda x: x.astype(self.dtype)  # noqa: E731
        u, v = t(u).astype(wide), t(v).astype(wide)
        norm = lambda x: t(t(x * x).astype(wide).sum(axis=1)).astype(wide)  # noqa: E731
        product = t(t(2 * t(u @ v.T).astype(wide)).astype(wide))
        distance = t(t(norm(u)[:, None] - product.astype(wide)).astype(wide) + norm(v)[None, :])
        return np.maximum(distance.astype(wide), 0)

    def less_thans(self, batch_1, radii_1, batch_2, radii_2):
        distance = self.pairwise_distances(batch_1, batch_2)[..., None]
        return (distance <= radii_2).any(axis=1), (distance <= radii_1[:, None]).any(axis=0)


def guided_diffusion():
    tensorflow = types.ModuleType("tensorflow")
    tensorflow.compat = types.ModuleType("tensorflow.compat")
    tensorflow.compat.v1 = mock.MagicMock()
    names = {"tensorflow": tensorflow, "tensorflow.compat": tensorflow.compat}
    sys.modules.update(names, **{"tensorflow.compat.v1": tensorflow.compat.v1})
    sys.path.insert(0, os.path.join(clone, "evaluations"))
    import evaluator as adm

    out = {}
    evaluator = adm.Evaluator.__new__(adm.Evaluator)
    evaluator.sess, evaluator.softmax_batch_size = FakeSession(), 512
    evaluator.softmax = evaluator.softmax_input = "softmax"
    out["is"] = evaluator.compute_inception_score(logits)
    for name, x, y in (("fid", a, b), ("fidFloat32", a32, b32)):
        stats = [evaluator.compute_statistics(acts) for acts in (x, y)]
        out[name] = float(stats[1].frechet_distance(stats[0]))
    for name, x, y, dtype in (("", a, b, np.float64), ("Float16", a32, b32, np.float16)):
        estimator = adm.ManifoldEstimator.__new__(adm.ManifoldEstimator)
        estimator.row_batch_size = estimator.col_batch_size = 10000
        estimator.nhood_sizes, estimator.num_nhoods = (3,), 1
        estimator.clamp_to_percentile, estimator.eps = None, 1e-5
        estimator.distance_block = Distances(dtype)
        evaluator.manifold_estimator = estimator
        out["precision" + name], out["recall" + name] = evaluator.compute_prec_recall(x, y)
    return out


def moments(x):
    return np.mean(x, axis=0), np.cov(x, rowvar=False)


os.makedirs(os.path.join(folder, "resized"), exist_ok=True)
resize = build_resizer("clean")
photos = os.path.join(folder, "photos")
for name in sorted(os.listdir(photos)):
    pixels = np.array(Image.open(os.path.join(photos, name)).convert("RGB"))
    resize(pixels).astype("<f4").tofile(os.path.join(folder, "resized", name + ".f32"))

print(
    json.dumps(
        {
            "torchFidelity": torch_fidelity(a, b, logits),
            "torchFidelityFloat32": torch_fidelity(a32, b32, logits32),
            "cleanFid": {"kid": kernel_distance(a, b, num_subsets=1, max_subset_size=len(a))},
            "pytorchFid": {"fid": float(calculate_frechet_distance(*moments(a), *moments(b)))},
            "guidedDiffusion": guided_diffusion(),
        }
    )
)
