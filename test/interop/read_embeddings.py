"""Reads a folder in clip-retrieval's layout with autofaiss' own code and prints what it sees as JSON.

    read_embeddings.py DEST

embedding_reader is what autofaiss and clip-retrieval read embeddings with; autofaiss builds an index where it
is installed. Both need: pip install autofaiss
"""

import json
import os
import sys

import numpy as np
from embedding_reader import EmbeddingReader

dest = sys.argv[1]
seen = {}
for kind in ("img_emb", "text_emb"):
    folder = os.path.join(dest, kind)
    if not os.path.isdir(folder):
        continue
    reader = EmbeddingReader(
        embeddings_folder=folder,
        metadata_folder=os.path.join(dest, "metadata"),
        meta_columns=["image_path", "caption"] if kind == "img_emb" else ["key"],
        file_format="parquet_npy",
    )
    rows, meta = [], []
    for embeddings, table in reader(batch_size=7, start=0, end=reader.count):
        rows.append(embeddings)
        meta += table.to_dict("records")
    found = np.concatenate(rows)
    norms = np.linalg.norm(found.astype("f4"), axis=1)
    seen[kind] = {"rows": len(found), "dim": reader.dimension, "norms": [float(n) for n in norms], "meta": meta}

try:
    from autofaiss import build_index

    index, info = build_index(
        os.path.join(dest, "img_emb"), save_on_disk=False, metric_type="ip", max_index_memory_usage="1GB", nb_cores=1, verbose=40
    )
    first = found if "img_emb" not in seen else np.load(os.path.join(dest, "img_emb", sorted(os.listdir(os.path.join(dest, "img_emb")))[0]))
    _, ids = index.search(first[:5].astype("f4"), 1)
    seen["autofaiss"] = {"rows": index.ntotal, "nearest": [int(i) for i in ids[:, 0]]}
except ImportError:
    pass
print(json.dumps(seen, default=str))
