"""Pillow and torchvision's side of bench/preprocess.ts: times a job over a list of files, on one thread.

Reads one line of JSON per job, {"kind": "run" | "decode" | "resize", "transform": ..., "files": [...]}, and
answers with {"seconds": ..., "cpu": ...}: the clock, and the processor time of all threads.
"""

import functools
import io
import json
import sys
import time

import torch
from PIL import Image
from torchvision import transforms as T

torch.set_num_threads(1)


def adm_crop(image, size=256):
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.BOX)
    scale = size / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.BICUBIC)
    x, y = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((x, y, x + size, y + size))


TRANSFORMS = {
    "resize(256,256,bilinear)": T.Resize((256, 256)),
    "resize(256,bicubic)|center-crop(224)": T.Compose([T.Resize(256, T.InterpolationMode.BICUBIC), T.CenterCrop(224)]),
    "adm-crop(256)": adm_crop,
}


def read(path):
    with open(path, "rb") as file:
        return file.read()


def decode(data):
    return Image.open(io.BytesIO(data)).convert("RGB")


@functools.lru_cache(maxsize=4)
def decoded(files):
    return [decode(read(path)) for path in files]


print("ready", flush=True)
for line in sys.stdin:
    job = json.loads(line)
    transform = TRANSFORMS.get(job["transform"])
    files = tuple(job["files"])
    images = decoded(files) if job["kind"] == "resize" else []
    start, cpu = time.perf_counter(), time.process_time()
    if job["kind"] == "resize":
        for image in images:
            transform(image)
    else:
        for path in files:
            image = decode(read(path))
            if job["kind"] == "run":
                transform(image).tobytes()
    print(json.dumps({"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}), flush=True)
