"""
The images of three stages of recipes/nano.yaml: three folders of class folders, one for each.

    python scripts/nano-images.py CIFAR PHOTOGRAPHS OUT

CIFAR: the training images of CIFAR-10 in class folders. PHOTOGRAPHS: a folder of files named like
`n01440764_tench.JPEG`, one of each class of ImageNet; every twentieth of them is kept out and linked into
OUT/photographs-held-out. Photographs are brought to a shorter side of 288 pixels at most, and square pieces are cut out.
Needs Pillow. CIFAR's files are hard-linked.
"""
import os
import random
import sys

from PIL import Image

# Of each stage: images of a CIFAR class, pieces of a photograph, and the least and largest side of a piece.
STAGES = {"64": (5000, 8, 64, 256), "128": (1500, 14, 112, 256), "256": (900, 16, 224, 288)}
HELD_OUT = slice(10, None, 20)
SHORTER_SIDE = 288


def link(source, target):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if not os.path.exists(target):
        os.link(source, target)


def main(cifar, photographs, out):
    for stage, (per_class, *_) in STAGES.items():
        for name in sorted(os.listdir(cifar)):
            for file in sorted(os.listdir(os.path.join(cifar, name)))[:per_class]:
                link(os.path.join(cifar, name, file), os.path.join(out, stage, name, file))
    files = sorted(file for file in os.listdir(photographs) if file.lower().endswith(".jpeg"))
    held_out = set(files[HELD_OUT])
    random.seed(7)
    for file in files:
        path = os.path.join(photographs, file)
        if file in held_out:
            link(path, os.path.join(out, "photographs-held-out", file))
            continue
        name = file.split("_", 1)[1].rsplit(".", 1)[0].replace("_", " ")
        image = Image.open(path).convert("RGB")
        scale = min(1, SHORTER_SIDE / min(image.size))
        image = image.resize([max(256, round(side * scale)) for side in image.size], Image.BICUBIC)
        width, height = image.size
        for stage, (_, pieces, least, largest) in STAGES.items():
            folder = os.path.join(out, stage, name)
            os.makedirs(folder, exist_ok=True)
            for i in range(pieces):
                side = min(random.randint(least, largest), width, height)
                left, top = random.randint(0, width - side), random.randint(0, height - side)
                piece = image.crop((left, top, left + side, top + side))
                piece.save(os.path.join(folder, f"{i:02d}.png"), compress_level=1)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
