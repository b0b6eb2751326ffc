"""What other programs see in the output of a run.

    python test/interop/readers.py DEST...

Opens each DEST (a folder of shards of one format) with every reader that people use for that format, and
prints one JSON object: DEST -> reader -> what it saw. Tensors are reported by dtype, shape and the SHA-256
of their values in row-major order, so "the same" means the same bits. Checks that need no knowledge of the
run (one reader against another, checksums against the manifest) are made here and end the script.
"""

import sys

sys.dont_write_bytecode = True

import glob
import hashlib
import json
import os
import tempfile

# Nothing is fetched and nothing is left in the home folder.
CACHE = tempfile.TemporaryDirectory()
os.environ.update(HF_HOME=CACHE.name, HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
os.environ.update(HF_DATASETS_DISABLE_PROGRESS_BARS="1")

import datasets
import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

import lightningdit

META = ["key", "uri", "label", "caption", "width", "height", "sha256"]


def check(condition, message):
    if not condition:
        raise SystemExit(f"readers.py: {message}")


def tensor(array):
    """Dtype, shape and digest of a numpy array."""
    array = np.ascontiguousarray(array)
    return {
        "dtype": str(array.dtype),
        "shape": list(array.shape),
        "sha256": hashlib.sha256(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()).hexdigest(),
    }


def narrow(array, dtype):
    """Values that a reader widened, in their stored dtype again; no bit may have changed."""
    stored = array.astype(dtype)
    check(np.array_equal(stored.astype(array.dtype), array), f"a {array.dtype} value is no {dtype}")
    return stored


def meta_rows(table):
    rows = table.select([name for name in META if name in table.column_names]).to_pylist()
    return [{**row, "sha256": row["sha256"].hex()} for row in rows]


def tensor_fields(schema):
    return {field.name: field.type for field in schema if field.name not in META}


def from_pyarrow(table):
    table.validate(full=True)
    for name, kind in tensor_fields(table.schema).items():
        check(isinstance(kind, pa.FixedShapeTensorType), f"pyarrow sees {name} as {kind}")
    for name in tensor_fields(table.schema):
        check(table.column(name).null_count == 0, f"{name} has nulls")
    return {
        "rows": meta_rows(table),
        "tensors": {
            name: tensor(table.column(name).combine_chunks().to_numpy_ndarray())
            for name in tensor_fields(table.schema)
        },
        "metadata": {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()},
    }


def flat(table, fields):
    """The lists of a table whose reader knows no tensors: [rows, product of the shape] in the stored dtype."""
    out = {}
    for name, kind in fields.items():
        size = int(np.prod(kind.shape))
        lists = table.column(name).combine_chunks()
        check(lists.null_count == 0, f"{name} has nulls")
        lengths = {len(row) for row in lists}
        check(lengths <= {size}, f"{name} has lists of {lengths} values, not of {size}")
        values = lists.flatten().to_numpy(zero_copy_only=False).reshape(len(lists), size)
        out[name] = tensor(narrow(values, kind.value_type.to_pandas_dtype()))
    return out


def read_arrow(dest):
    files = sorted(glob.glob(os.path.join(glob.escape(dest), "part-*.arrow")))
    check(files, f"{dest} holds no shards")
    tables = []
    for file in files:
        with pa.memory_map(file) as source:
            tables.append(pa.ipc.open_file(source).read_all())
    table = pa.concat_tables(tables)
    check(pa.dataset.dataset(dest, format="ipc").to_table().equals(table), "pyarrow.dataset reads other rows")
    data = datasets.load_dataset(dest, split="train")
    check(data["key"][:] == table.column("key").to_pylist(), "datasets reads other rows of Arrow shards")
    return {"pyarrow": from_pyarrow(table)}


def read_parquet(dest):
    files = sorted(glob.glob(os.path.join(glob.escape(dest), "part-*.parquet")))
    check(files, f"{dest} holds no shards")
    table = pa.concat_tables([pq.read_table(file) for file in files])
    # The folder as it is, whatever else lies in it.
    check(pa.dataset.dataset(dest).to_table().equals(table), "pyarrow.dataset reads other rows")
    check(list(pd.read_parquet(dest)["key"]) == table.column("key").to_pylist(), "pandas reads other rows")
    with duckdb.connect() as db:
        keys = [key for (key,) in db.read_parquet(dest).project("key").fetchall()]
    check(keys == table.column("key").to_pylist(), "DuckDB reads other rows from the folder")
    fields = tensor_fields(table.schema)
    return {
        "pyarrow": from_pyarrow(table),
        "duckdb": from_duckdb(files, fields),
        "datasets": from_datasets(dest, files, fields),
    }


def from_duckdb(files, fields):
    with duckdb.connect() as db:
        shards = db.read_parquet(files)
        table = shards.to_arrow_table()
        # A filter makes the reader jump within pages, levels and all.
        odd = shards.filter("width % 2 = 1").to_arrow_table()
        mask = pa.compute.equal(pa.compute.bit_wise_and(table.column("width"), 1), 1)
        check(odd.equals(table.filter(mask)), "DuckDB: a filtered read gives other values")
        return {
            "rows": meta_rows(table),
            "tensors": flat(table, fields),
            "types": {name: str(kind) for name, kind in zip(shards.columns, shards.types) if name in fields},
        }


def from_datasets(dest, files, fields):
    # Nothing but the folder: its .huggingface.yaml says how columns are read.
    data = datasets.load_dataset(dest, split="train")
    stream = datasets.load_dataset(dest, split="train", streaming=True)
    told = (pq.read_schema(files[0]).metadata or {}).get(b"huggingface")
    if told is not None:
        names = json.loads(told)["info"]["features"]["label"]["names"]
        check(data.features["label"].names == names, "datasets sees other class names than the schema metadata tells")
    first = next(iter(stream))
    check(first == data[0], "datasets: a stream begins with another row")
    # Single files need the features, too.
    again = datasets.load_dataset("parquet", data_files=files, split="train", features=data.features)
    check(again.data.table.equals(data.data.table), "datasets: load_dataset('parquet') reads other rows")
    table = data.with_format("arrow")[:]
    return {
        "rows": meta_rows(table),
        "tensors": flat(table, fields),
        "features": {name: str(data.features[name]) for name in fields},
    }


def read_safetensors(dest):
    files = sorted(glob.glob(os.path.join(glob.escape(dest), "*.safetensors")))
    loader = lightningdit.LatentFolder(dest)
    shards = [lightningdit.read_whole(file) for file in files]
    tensors = {name: np.concatenate([shard[name] for _, shard in shards]) for name in shards[0][1]}
    labels = tensors.pop("labels")
    check(labels.dtype == np.int64, f"labels are {labels.dtype}")
    rows = []
    for file, (_, shard) in zip(files, shards):
        with open(file.removesuffix(".safetensors") + ".keys.jsonl", encoding="utf-8", newline="\n") as sidecar:
            lines = [json.loads(line) for line in sidecar.read().split("\n")[:-1]]
        check(len(lines) == len(shard["labels"]), f"{file} has {len(shard['labels'])} rows and {len(lines)} keys")
        rows += lines
    names = [name for name in ("latents", "latents_flip") if name in tensors]
    out = {"rows": rows, "tensors": {name: tensor(array) for name, array in tensors.items()}}
    return {
        "safetensors": {**out, "labels": labels.tolist(), "metadata": [metadata for metadata, _ in shards]},
        "lightningdit": {
            "rows": len(loader),
            "labels": [int(loader.label(i)) for i in range(len(loader))],
            "tensors": {name: tensor(np.stack([loader.row(name, i) for i in range(len(loader))])) for name in names},
            "stats": loader.check_stats(tensors["latents"]),
        },
    }


def check_manifest(dest):
    """The manifest's files are there, with those checksums, and no shard is missing from it."""
    path = os.path.join(dest, "_manifest.json")
    if not os.path.exists(path):
        return
    with open(path, encoding="utf-8") as file:
        manifest = json.load(file)
    for entry in manifest["files"]:
        with open(os.path.join(dest, entry["name"]), "rb") as file:
            content = file.read()
        check(len(content) == entry["bytes"], f"{entry['name']} has {len(content)} bytes, not {entry['bytes']}")
        check(hashlib.sha256(content).hexdigest() == entry["sha256"], f"{entry['name']} has another checksum")
    shards = {name for name in os.listdir(dest) if name.endswith((".arrow", ".parquet", ".safetensors"))}
    listed = {entry["name"] for entry in manifest["files"]}
    check(shards <= listed, f"{sorted(shards - listed)} are not in the manifest")


READERS = {".arrow": read_arrow, ".parquet": read_parquet, ".safetensors": read_safetensors}


def read(dest):
    suffixes = {os.path.splitext(name)[1] for name in os.listdir(dest)} & set(READERS)
    check(len(suffixes) == 1, f"{dest} holds shards of {len(suffixes)} formats")
    check_manifest(dest)
    return READERS[suffixes.pop()](dest)


if __name__ == "__main__":
    check(len(sys.argv) > 1, "usage: readers.py DEST...")
    json.dump({dest: read(dest) for dest in sys.argv[1:]}, sys.stdout)
