"""The Python side of bench/retrieval.ts: the same vectors, one step per call, one JSON line out.

    retrieval.py STEP VECTORS.f32 QUERIES.f32 DIM K THREADS FILE

STEP is usearch, faiss or numpy. VECTORS are float32 rows of unit length. usearch and faiss build with M = 16,
efConstruction = 128 and search with ef = 128, one query at a time; the index is written to FILE.
"""

import json
import os
import sys
import time

step, vectors_file, queries_file, dim, k, threads, file = sys.argv[1:]
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = threads
import numpy as np  # noqa: E402

dim, k, threads = int(dim), int(k), int(threads)
vectors = np.fromfile(vectors_file, dtype=np.float32).reshape(-1, dim)
queries = np.fromfile(queries_file, dtype=np.float32).reshape(-1, dim)
out = {"step": step}


def timed(search, rows):
    ids, seconds = [], []
    cpu = time.process_time()
    for query in rows:
        began = time.perf_counter()
        ids.append([int(i) for i in search(query)])
        seconds.append(time.perf_counter() - began)
    out["ids"] = ids
    out["p50_ms"] = 1000 * float(np.median(seconds))
    out["query_cpu_ms"] = 1000 * (time.process_time() - cpu) / len(rows)


began, cpu = time.perf_counter(), time.process_time()
if step == "usearch":
    from usearch.index import Index

    index = Index(ndim=dim, metric="cos", dtype="f16", connectivity=16, expansion_add=128, expansion_search=128)
    index.add(np.arange(len(vectors)), vectors, threads=threads)
    out["build_s"], out["cpu_s"] = time.perf_counter() - began, time.process_time() - cpu
    index.save(file)
    timed(lambda query: index.search(query, k, threads=1).keys, queries)
elif step == "faiss":
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexHNSWSQ(dim, faiss.ScalarQuantizer.QT_fp16, 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 128
    index.hnsw.efSearch = 128
    index.train(vectors[:1000])
    index.add(vectors)
    out["build_s"], out["cpu_s"] = time.perf_counter() - began, time.process_time() - cpu
    faiss.write_index(index, file)
    faiss.omp_set_num_threads(1)
    timed(lambda query: index.search(query[None], k)[1][0], queries)
elif step == "numpy":

    def search(query):
        scores = vectors @ query
        best = np.argpartition(scores, -k)[-k:]
        return best[np.argsort(-scores[best])]

    search(queries[0])
    timed(search, queries[:20])
    began = time.perf_counter()
    scores = queries[:64] @ vectors.T
    best = np.argpartition(scores, -k, axis=1)[:, -k:]
    out["batch64_ms"] = 1000 * (time.perf_counter() - began)
if os.path.exists(file):
    out["bytes"] = os.path.getsize(file)
print(json.dumps(out))
