"""A stand-in for torch, for a Python without it: as much as docs/python.md uses, and no more.

PyTorch is a download of gigabytes, too much for every run of the tests. Where the real one is installed it is used:
page.py looks here last. Tensors are NumPy arrays.
"""

from types import SimpleNamespace

import numpy as np


def from_numpy(array):
    if not array.flags.writeable:
        raise ValueError("torch warns of arrays that cannot be written to")
    return array


class Dataset:
    pass


class IterableDataset(Dataset):
    pass


def get_worker_info():
    return None


class DataLoader:
    def __init__(self, dataset, batch_size):
        self.dataset, self.batch_size = dataset, batch_size

    def __iter__(self):
        batch = []
        for sample in self.dataset:
            batch.append(sample)
            if len(batch) == self.batch_size:
                yield [np.stack(field) for field in zip(*batch)]
                batch = []


utils = SimpleNamespace(
    data=SimpleNamespace(
        Dataset=Dataset, IterableDataset=IterableDataset, DataLoader=DataLoader, get_worker_info=get_worker_info
    )
)
