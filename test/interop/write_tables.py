"""Tables of images in Parquet, as pyarrow and DuckDB lay them out.

    write_tables.py FOLDER

Prints one JSON object: for each file the SHA-256 of every row's bytes, null where the row has neither bytes nor a path
of its own. Rows without bytes have the path of a file in FOLDER, whose bytes count. The bytes are of any kind, as a
source does not decode them.
"""

import hashlib
import json
import os
import random
import sys

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

folder = sys.argv[1]
numbers = random.Random(7)
beside = b"beside the table"
with open(os.path.join(folder, "beside.jpg"), "wb") as file:
    file.write(beside)


def value(i, size):
    # Every third one compresses well; some are the same.
    if i % 3 == 0:
        return bytes([i % 256]) * size
    return numbers.randbytes(size) if i % 7 else b"the same bytes" * (size // 14)


def rows(count, size):
    made = [{"bytes": value(i, size + i), "path": f"{i}.jpg"} for i in range(count)]
    made[1] = {"bytes": None, "path": "beside.jpg"}
    made[count // 2] = {"bytes": None, "path": None}
    made[count - 2] = None
    return made


def digest(data):
    return None if data is None else hashlib.sha256(data).hexdigest()


def truth(made):
    return [digest(row and (row["bytes"] or (beside if row["path"] == "beside.jpg" else None))) for row in made]


struct = pa.struct([("bytes", pa.binary()), ("path", pa.string()), ("tags", pa.list_(pa.string()))])
told = {}


def write(name, made, **options):
    table = pa.table({"image": pa.array(made, struct), "label": list(range(len(made)))})
    pq.write_table(table, os.path.join(folder, name), **options)
    told[name] = truth(made)


small = [{**row, "tags": ["a", "b"][: i % 3]} if row else None for i, row in enumerate(rows(60, 900))]
for codec in ["none", "snappy", "gzip", "brotli", "zstd", "lz4"]:
    for version in ["1.0", "2.0"]:
        layout = {"compression": codec, "data_page_version": version, "row_group_size": 25}
        paged = {**layout, "write_batch_size": 3, "data_page_size": 4000}
        write(f"{codec}-{version}-plain.parquet", small, use_dictionary=False, **paged)
        write(f"{codec}-{version}-index.parquet", small, write_page_index=True, **paged)
        delta = {"image.bytes": "DELTA_LENGTH_BYTE_ARRAY", "image.path": "DELTA_BYTE_ARRAY"}
        write(f"{codec}-{version}-delta.parquet", small, use_dictionary=False, column_encoding=delta, **paged)
        write(f"{codec}-{version}-default.parquet", small, **layout)
write("chunked.parquet", small, use_content_defined_chunking=True, write_page_index=True)

# One dictionary, or one page, of 20 MB.
large = rows(40, 500_000)
for codec in ["none", "snappy", "zstd"]:
    write(f"large-{codec}-dictionary.parquet", large, compression=codec)
    write(f"large-{codec}-plain.parquet", large, compression=codec, use_dictionary=False)
    write(f"large-{codec}-2.parquet", large, compression=codec, use_dictionary=False, data_page_version="2.0")

flat = [row and row["bytes"] for row in rows(40, 200_000)]
flat[1] = None
pictures = pa.table({"image": pa.array(flat, pa.binary())})
for codec in ["uncompressed", "snappy", "zstd"]:
    name = f"duckdb-{codec}.parquet"
    duckdb.sql("FROM pictures").write_parquet(os.path.join(folder, name), compression=codec)
    told[name] = [digest(data) for data in flat]

print(json.dumps(told))
