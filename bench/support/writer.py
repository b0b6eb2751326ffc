"""The Python side of bench/writer.ts: one shard of standard normals, MB per second of processor time on stdout.

    writer.py FORMAT FOLDER ROWS COLUMNS

FORMAT is arrow, parquet (pyarrow) or safetensors; COLUMNS is JSON, [{name, dtype, shape}]. Arrow files are written in
record batches of about 8 MiB and hashed on the way, the others are written and then read and hashed. The shard is
flushed to the disk and deleted.
"""

import hashlib
import json
import os
import sys
import time

import numpy as np

kind, folder, rows, columns = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
file = os.path.join(folder, f"python.{kind}")
normals = np.random.default_rng(1).standard_normal(1 << 22, dtype=np.float32)
tensors = {}
for column in columns:
    size = int(np.prod(column["shape"]))
    flat = np.resize(normals.astype(column["dtype"]), rows * size)
    tensors[column["name"]] = flat.reshape(rows, size)
row_bytes = sum(tensor.nbytes for tensor in tensors.values()) // rows


class Hashing:
    """A file that hashes what is written to it."""

    def __init__(self, path):
        self.file = open(path, "wb", buffering=0)
        self.hash = hashlib.sha256()
        self.closed = False

    def write(self, chunk):
        view = memoryview(chunk)
        self.hash.update(view)
        done = 0
        while done < view.nbytes:
            done += self.file.write(view[done:])
        return view.nbytes

    def flush(self):
        pass

    def close(self):
        os.fsync(self.file.fileno())
        self.file.close()
        self.closed = True


def write_pyarrow():
    import pyarrow as pa

    fields = {
        "key": pa.array([f"a/{i}.jpg" for i in range(rows)]),
        "uri": pa.array([f"/data/a/{i}.jpg" for i in range(rows)]),
        "label": pa.array([1] * rows, pa.int32()),
        "width": pa.array([500] * rows, pa.int32()),
        "height": pa.array([375] * rows, pa.int32()),
        "sha256": pa.array([bytes(32)] * rows, pa.binary(32)),
    }
    for name, tensor in tensors.items():
        fields[name] = pa.FixedSizeListArray.from_arrays(pa.array(tensor.reshape(-1)), tensor.shape[1])
    table = pa.table(fields)
    if kind == "parquet":
        import pyarrow.parquet as pq

        pq.write_table(table, file, compression="none", use_dictionary=False)
        return hash_file()
    sink = Hashing(file)
    with pa.ipc.new_file(pa.PythonFile(sink, "w"), table.schema) as writer:
        writer.write_table(table, max_chunksize=max(1, (8 << 20) // row_bytes))
    sink.close()
    return sink.hash.hexdigest()


def hash_file():
    with open(file, "r+b") as stream:
        os.fsync(stream.fileno())
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_safetensors():
    from safetensors.numpy import save_file

    shapes = {column["name"]: [rows, *column["shape"]] for column in columns}
    save_file(
        {"labels": np.ones(rows, np.int64), **{name: tensor.reshape(shapes[name]) for name, tensor in tensors.items()}},
        file,
    )
    return hash_file()


if kind == "safetensors":
    import safetensors.numpy  # noqa: F401
else:
    import pyarrow.parquet  # noqa: F401
began = time.process_time()
(write_safetensors if kind == "safetensors" else write_pyarrow)()
seconds = time.process_time() - began
print(os.path.getsize(file) / 1e6 / seconds)
os.remove(file)
