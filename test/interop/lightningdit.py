"""What LightningDiT's ImgLatentDataset relies on in a folder of latents, with numpy in torch's place.

Shards are all *.safetensors in the order of their names; each has `labels`, whose length is its number of
rows, and rows are read one by one as slices of `latents` or `latents_flip`. `latents_stats.pt`, where there
is one, is loaded as a dict of `mean` and `std` of shape [1, C, 1, 1] instead of being computed.
"""

import glob
import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
from safetensors import safe_open


def read_whole(file):
    """Metadata and all tensors of a shard."""
    with safe_open(file, framework="numpy") as shard:
        return shard.metadata(), {name: shard.get_tensor(name) for name in shard.keys()}


class LatentFolder:
    def __init__(self, folder):
        files = sorted(glob.glob(os.path.join(glob.escape(folder), "*.safetensors")))
        self.shards = [safe_open(file, framework="numpy") for file in files]
        self.rows = [(shard, i) for shard in self.shards for i in range(shard.get_slice("labels").get_shape()[0])]
        stats = os.path.join(folder, "latents_stats.pt")
        self.stats = load_stats(stats) if os.path.exists(stats) else None

    def __len__(self):
        return len(self.rows)

    def row(self, name, index):
        shard, i = self.rows[index]
        return shard.get_slice(name)[i : i + 1][0]

    def label(self, index):
        shard, i = self.rows[index]
        return shard.get_slice("labels")[i : i + 1][0]

    def check_stats(self, latents):
        """The stored statistics, if they are those of the latents [N, C, h, w]."""
        if self.stats is None:
            return None
        values = latents.astype(np.float64)
        for name, value in (("mean", values.mean((0, 2, 3))), ("std", values.std((0, 2, 3), ddof=1))):
            stored = self.stats[name]
            if stored.shape != (1, latents.shape[1], 1, 1) or stored.dtype != np.float32:
                raise SystemExit(f"lightningdit.py: {name} is {stored.dtype} {stored.shape}")
            np.testing.assert_allclose(stored.reshape(-1), value, rtol=2e-7, atol=1e-7 * values.std())
        return {name: value.reshape(-1).tolist() for name, value in self.stats.items()}


def load_stats(path):
    """A .pt file of float32 tensors, read as torch.load(weights_only=True) does: by a pickle reader that knows
    three names."""
    with zipfile.ZipFile(path) as archive:
        if archive.testzip() is not None:
            raise SystemExit(f"lightningdit.py: {path} has a wrong checksum")
        root = archive.namelist()[0].split("/")[0]

        def storage(kind, key, location, size):
            values = np.frombuffer(archive.read(f"{root}/data/{key}"), kind)
            if len(values) != size or location != "cpu":
                raise SystemExit(f"lightningdit.py: storage {key} has {len(values)} values on {location}, not {size}")
            return values

        def rebuild(values, offset, shape, strides, requires_grad, hooks):
            return np.lib.stride_tricks.as_strided(values[offset:], shape, [4 * stride for stride in strides])

        class Reader(pickle.Unpickler):
            def find_class(self, module, name):
                return {
                    "torch._utils._rebuild_tensor_v2": rebuild,
                    "torch.FloatStorage": np.dtype("<f4"),
                    "collections.OrderedDict": OrderedDict,
                }[f"{module}.{name}"]

            def persistent_load(self, pid):
                what, *rest = pid
                if what != "storage":
                    raise pickle.UnpicklingError(f"unknown reference {what}")
                return storage(*rest)

        with archive.open(f"{root}/data.pkl") as file:
            return Reader(file).load()
