"""pytorch-fid's distance on the statistics and features that bench/fid.ts made.

    frechet.py FOLDER

a.npz and b.npz (mu, sigma) -> calculate_frechet_distance; features.npy -> mean, cov and the distance to a.npz,
in float64 as pytorch-fid keeps its features. Prints one JSON line; loading is not in the seconds.
"""

import json
import sys
import time

import numpy as np
from pytorch_fid.fid_score import calculate_frechet_distance

folder = sys.argv[1]
(mu_a, sigma_a), (mu_b, sigma_b) = [
    (stats["mu"], stats["sigma"]) for stats in (np.load(f"{folder}/{name}.npz") for name in "ab")
]
began = time.perf_counter()
fid = calculate_frechet_distance(mu_a, sigma_a, mu_b, sigma_b)
fid_seconds = time.perf_counter() - began

features = np.load(f"{folder}/features.npy").astype(np.float64)
began = time.perf_counter()
mu, sigma = np.mean(features, axis=0), np.cov(features, rowvar=False)
moments_seconds = time.perf_counter() - began
began = time.perf_counter()
features_fid = calculate_frechet_distance(mu_a, sigma_a, mu, sigma)
seconds = moments_seconds + time.perf_counter() - began
print(
    json.dumps(
        {
            "fid": float(fid),
            "fidSeconds": fid_seconds,
            "featuresFid": float(features_fid),
            "momentsSeconds": moments_seconds,
            "featuresSeconds": seconds,
        }
    )
)
