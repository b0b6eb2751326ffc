"""Writes TIFF files of every kind that Pillow's table knows, and of some that it does not: kind of pixel × byte
order × strips or tiles × planes × compression × predictor × orientation × bit order, classic and BigTIFF.

    python scripts/tiff-variants.py FOLDER [--size 23x19] [--sample 1]    (wants numpy, imagecodecs and Pillow)

The container is written here, so that no library decides what is possible; CCITT and JPEG files are Pillow's.
scripts/compare-pillow.ts then compares what Pillow and the program make of them. With --fixture FILE, every
SAMPLE-th file of at most 900 bytes goes into a JSON file with the SHA-256 of Pillow's pixels
(fixtures/tiff/cases.json: --size 7x5 --sample 83).
"""
import argparse
import base64
import hashlib
import itertools
import json
import os
import struct

import imagecodecs
import numpy as np
from PIL import Image

parser = argparse.ArgumentParser()
parser.add_argument('folder')
parser.add_argument('--size', default='23x19')
parser.add_argument('--sample', type=int, default=1)
parser.add_argument('--fixture')
args = parser.parse_args()
os.makedirs(args.folder, exist_ok=True)
W, H = (int(side) for side in args.size.split('x'))
rng = np.random.default_rng(7)

REVERSE = bytes(int(f'{i:08b}'[::-1], 2) for i in range(256))

# name: (photometric, sample format, bits, samples, extra samples)
KINDS = {
    'white1': (0, 1, 1, 1, ()), 'black1': (1, 1, 1, 1, ()), 'white2': (0, 1, 2, 1, ()), 'black2': (1, 1, 2, 1, ()),
    'white4': (0, 1, 4, 1, ()), 'black4': (1, 1, 4, 1, ()), 'white8': (0, 1, 8, 1, ()), 'black8': (1, 1, 8, 1, ()),
    'int8': (1, 2, 8, 1, ()), 'uint12': (1, 1, 12, 1, ()), 'uint16': (1, 1, 16, 1, ()), 'white16': (0, 1, 16, 1, ()),
    'int16': (1, 2, 16, 1, ()), 'uint32': (1, 1, 32, 1, ()), 'int32': (1, 2, 32, 1, ()), 'float32': (1, 3, 32, 1, ()),
    'whitefloat32': (0, 3, 32, 1, ()), 'float16': (1, 3, 16, 1, ()), 'float64': (1, 3, 64, 1, ()), 'la8': (1, 1, 8, 2, (2,)),
    'la16': (1, 1, 16, 2, (2,)), 'la8x': (1, 1, 8, 2, (0,)), 'la8a': (1, 1, 8, 2, (1,)),
    'rgb8': (2, 1, 8, 3, ()), 'rgba8none': (2, 1, 8, 4, ()), 'rgbx8': (2, 1, 8, 4, (0,)), 'rgbassoc8': (2, 1, 8, 4, (1,)),
    'rgba8': (2, 1, 8, 4, (2,)), 'corel8': (2, 1, 8, 4, (999,)), 'rgbxx8': (2, 1, 8, 5, (0, 0)), 'rgbxxx8': (2, 1, 8, 6, (0, 0, 0)),
    'rgbassocx8': (2, 1, 8, 5, (1, 0)), 'rgbassocxx8': (2, 1, 8, 6, (1, 0, 0)), 'rgbax8': (2, 1, 8, 5, (2, 0)), 'rgbaxx8': (2, 1, 8, 6, (2, 0, 0)),
    'rgb16': (2, 1, 16, 3, ()), 'rgba16none': (2, 1, 16, 4, ()), 'rgbx16': (2, 1, 16, 4, (0,)), 'rgbassoc16': (2, 1, 16, 4, (1,)),
    'rgba16': (2, 1, 16, 4, (2,)), 'rgb32': (2, 1, 32, 3, ()), 'rgbfloat32': (2, 3, 32, 3, ()), 'rgbint8': (2, 2, 8, 3, ()),
    'pal1': (3, 1, 1, 1, ()), 'pal2': (3, 1, 2, 1, ()), 'pal4': (3, 1, 4, 1, ()), 'pal8': (3, 1, 8, 1, ()), 'palx8': (3, 1, 8, 2, (0,)),
    'pala8': (3, 1, 8, 2, (2,)), 'pal16': (3, 1, 16, 1, ()), 'cmyk8': (5, 1, 8, 4, ()), 'cmykx8': (5, 1, 8, 5, (0,)), 'cmykxx8': (5, 1, 8, 6, (0, 0)),
    'cmyk16': (5, 1, 16, 4, ()), 'ycc1': (6, 1, 8, 1, ()), 'lab8': (8, 1, 8, 3, ()), 'lab16': (8, 1, 16, 3, ()), 'icclab8': (9, 1, 8, 3, ()),
}
COMPRESSIONS = {'none': 1, 'lzw': 5, 'deflate': 8, 'olddeflate': 32946, 'packbits': 32773, 'zstd': 50000, 'lzma': 34925, 'webp': 50001}


def pack(values, bits):
    """Samples [rows, n] as rows of whole bytes, big-endian where they are bytes."""
    if bits in (8, 16, 32, 64):
        return values
    rows = []
    for row in values:
        text = ''.join(f'{int(v):0{bits}b}' for v in row)
        text += '0' * (-len(text) % 8)
        rows.append([int(text[i:i + 8], 2) for i in range(0, len(text), 8)])
    return np.array(rows, dtype=np.uint8)


def sample_type(fmt, bits, order):
    if bits < 8 or bits == 12:
        return np.dtype(np.uint8)
    return np.dtype(f"{order}{'uif'[fmt - 1]}{bits // 8}")


def compress(data, name):
    if name == 'none':
        return data
    if name == 'lzw':
        return imagecodecs.lzw_encode(data)
    if name in ('deflate', 'olddeflate'):
        return imagecodecs.zlib_encode(data)
    if name == 'packbits':
        return imagecodecs.packbits_encode(data)
    if name == 'zstd':
        return imagecodecs.zstd_encode(data)
    if name == 'lzma':
        return imagecodecs.lzma_encode(data)
    raise ValueError(name)


def predict(block, predictor, order, fmt, bits):
    """block [rows, columns, samples] -> the stored rows as bytes."""
    if predictor == 2:
        unsigned = block.view(np.dtype(f'{order}u{bits // 8}')) if bits > 8 else block.view(np.uint8)
        out = unsigned.copy()
        out[:, 1:] = unsigned[:, 1:] - unsigned[:, :-1]
        return out.tobytes()
    if predictor == 3:
        rows, columns, samples = block.shape
        big = block.astype(block.dtype.newbyteorder('>')).reshape(rows, columns * samples)
        planes = big.view(np.uint8).reshape(rows, columns * samples, bits // 8).transpose(0, 2, 1).reshape(rows, -1)
        out = planes.copy()
        out[:, samples:] = planes[:, samples:] - planes[:, :-samples]
        return out.tobytes()
    return block.tobytes()


def write(path, order, tags, segments, tiled, big):
    """tags: {tag: (type, values)}; the segments' offsets and sizes are added."""
    word = 'Q' if big else 'I'
    head = {'<': b'II', '>': b'MM'}[order] + struct.pack(order + 'H', 43 if big else 42)
    body = b''
    offsets = []
    start = 16 if big else 8
    for segment in segments:
        offsets.append(start + len(body))
        body += segment + b'\0' * (len(segment) % 2)
    tags = dict(tags)
    tags[324 if tiled else 273] = (16 if big else 4, offsets)
    tags[325 if tiled else 279] = (16 if big else 4, [len(s) for s in segments])
    kinds = {1: 'B', 3: 'H', 4: 'I', 5: 'II', 7: 'B', 16: 'Q'}
    entries = b''
    for tag in sorted(tags):
        kind, values = tags[tag]
        flat = [n for v in values for n in (v if isinstance(v, tuple) else (v,))]
        data = struct.pack(order + kinds[kind][0] * len(flat), *flat)
        room = 8 if big else 4
        if len(data) <= room:
            field = data.ljust(room, b'\0')
        else:
            field = struct.pack(order + word, start + len(body))
            body += data + b'\0' * (len(data) % 2)
        entries += struct.pack(order + 'HH' + word, tag, kind, len(values)) + field
    directory = struct.pack(order + ('Q' if big else 'H'), len(tags)) + entries + struct.pack(order + word, 0)
    head += (struct.pack(order + 'HH', 8, 0) if big else b'') + struct.pack(order + word, start + len(body))
    with open(path, 'wb') as out:
        out.write(head + body + directory)


def values_for(kind, order):
    _, fmt, bits, samples, _ = KINDS[kind]
    dtype = sample_type(fmt, bits, order)
    y, x, s = np.mgrid[0:H, 0:W, 0:samples]
    ramp = ((x * 11 + y * 7 + s * 61) % 256).astype(np.float64) + rng.integers(0, 9, (H, W, samples))
    if fmt == 3:
        return (ramp * 1.7 - 60 + 0.37).astype(dtype)
    if bits < 8:
        return (ramp.astype(np.int64) % (1 << bits)).astype(dtype)
    if bits == 12:
        return np.minimum(ramp.astype(np.int64) * (1 + (y % 3) * 7), 4095).astype(np.uint16)
    if bits == 8:
        return ramp.astype(np.int64).astype(dtype)
    spread = ramp.astype(np.int64) * 257 if samples > 1 else ramp.astype(np.int64) * (1 + 40 * (x[..., :1] % 4 == 0)) - (100 if fmt == 2 else 0)
    if kind == 'uint32':
        spread = np.where(y[..., :1] % 5 == 0, spread + 2 ** 31, spread)
    return spread.astype(dtype)


def variant(kind, order='<', layout='strips', planar=1, compression='none', predictor=1, orientation=None, reverse=False, big=False):
    photometric, fmt, bits, samples, extras = KINDS[kind]
    values = values_for(kind, order)
    tiled = layout.startswith('tiles')
    tw, th = {'strips': (W, 5), 'one': (W, H), 'tiles': (16, 16), 'tilesbig': (32, 32)}[layout]
    planes = [values] if planar == 1 else [values[..., i:i + 1] for i in range(samples)]
    segments = []
    for plane in planes:
        for top in range(0, H, th):
            for left in range(0, W, tw):
                block = plane[top:top + th, left:left + tw]
                if tiled:
                    block = np.pad(block, ((0, th - block.shape[0]), (0, tw - block.shape[1]), (0, 0)), mode='edge')
                if bits in (8, 16, 32, 64):
                    if compression == 'webp':
                        segments.append(imagecodecs.webp_encode(np.ascontiguousarray(block), lossless=True))
                        continue
                    data = predict(np.ascontiguousarray(block), predictor, order, fmt, bits)
                else:
                    data = pack(block.reshape(block.shape[0], -1), bits).tobytes()
                data = compress(data, compression)
                segments.append(data.translate(REVERSE) if reverse else data)
    tags = {
        256: (4, [W]), 257: (4, [H]), 258: (3, [bits] * samples), 259: (3, [COMPRESSIONS[compression]]),
        262: (3, [photometric]), 277: (3, [samples]), 284: (3, [planar]),
    }
    if tiled:
        tags.update({322: (4, [tw]), 323: (4, [th])})
    else:
        tags[278] = (4, [th])
    if fmt != 1:
        tags[339] = (3, [fmt] * samples)
    if extras:
        tags[338] = (3, list(extras))
    if predictor != 1:
        tags[317] = (3, [predictor])
    if orientation:
        tags[274] = (3, [orientation])
    if reverse:
        tags[266] = (3, [2])
    if photometric == 3:
        tags[320] = (3, [int(v) for v in rng.integers(0, 65536, 3 << bits)])
    name = '-'.join([kind, {'<': 'II', '>': 'MM'}[order], layout, f'p{planar}', compression] + [f'pred{predictor}'] * (predictor != 1)
                    + [f'o{orientation}'] * bool(orientation) + ['rev'] * reverse + ['big'] * big)
    write(os.path.join(args.folder, name + '.tif'), order, tags, segments, tiled, big)


def ycc(sub, layout, compression, order='<', reference=None, coefficients=None, orientation=None):
    hs, vs = sub
    tiled = layout == 'tiles'
    tw, th = (16, 16) if tiled else (W, 8 if layout == 'strips' else H)
    segments = []
    for top in range(0, H, th):
        for left in range(0, W, tw):
            rows = th if tiled else min(th, H - top)
            blocks = -(-tw // hs) * -(-rows // vs)
            data = rng.integers(0, 256, blocks * (hs * vs + 2), dtype=np.uint8).tobytes()
            segments.append(compress(data, compression))
    tags = {256: (4, [W]), 257: (4, [H]), 258: (3, [8, 8, 8]), 259: (3, [COMPRESSIONS[compression]]), 262: (3, [6]), 277: (3, [3]), 284: (3, [1]), 530: (3, [hs, vs])}
    tags.update({322: (4, [tw]), 323: (4, [th])} if tiled else {278: (4, [th])})
    if reference:
        tags[532] = (5, [(v, 1) for v in reference])
    if coefficients:
        tags[529] = (5, [(round(v * 10000), 10000) for v in coefficients])
    if orientation:
        tags[274] = (3, [orientation])
    name = f"ycc{hs}{vs}-{ {'<': 'II', '>': 'MM'}[order]}-{layout}-{compression}{'-ref' if reference else ''}{'-coef' if coefficients else ''}{f'-o{orientation}' if orientation else ''}"
    write(os.path.join(args.folder, name + '.tif'), order, tags, segments, tiled, False)


jobs = []
for kind, (photometric, fmt, bits, samples, extras) in KINDS.items():
    for order, layout, compression in itertools.product('<>', ('strips', 'one', 'tiles', 'tilesbig'), COMPRESSIONS):
        if compression == 'webp' and (bits != 8 or samples not in (3, 4) or fmt != 1):
            continue
        predictors = [1]
        if compression in ('lzw', 'deflate', 'zstd') and bits in (8, 16, 32, 64):
            predictors += [2] + ([3] if fmt == 3 else [])
        for predictor in predictors:
            for planar in (1, 2) if samples > 1 and compression != 'webp' else (1,):
                jobs.append(dict(kind=kind, order=order, layout=layout, planar=planar, compression=compression, predictor=predictor))
    for orientation in range(1, 9):
        jobs.append(dict(kind=kind, orientation=orientation, compression=['none', 'lzw', 'deflate', 'packbits'][orientation % 4], layout=['one', 'strips', 'tiles'][orientation % 3]))
    for compression in ('none', 'lzw', 'packbits'):
        for order in '<>':
            jobs.append(dict(kind=kind, reverse=True, compression=compression, order=order))
    for order in '<>':
        jobs.append(dict(kind=kind, big=True, order=order, compression='lzw'))
        jobs.append(dict(kind=kind, big=True, order=order))
for job in jobs:
    variant(**job)
for sub in itertools.product((1, 2, 4), (1, 2, 4)):
    for layout, compression in itertools.product(('strips', 'one', 'tiles'), ('none', 'lzw', 'deflate')):
        ycc(sub, layout, compression)
    ycc(sub, 'strips', 'lzw', '>')
    ycc(sub, 'strips', 'lzw', reference=(16, 235, 128, 240, 128, 240))
    ycc(sub, 'one', 'lzw', coefficients=(0.2125, 0.7154, 0.0721))
    ycc(sub, 'one', 'none', orientation=6)

# libtiff's own codecs, by Pillow.
grey = Image.fromarray(((np.mgrid[0:H, 0:W][1] * 11 + np.mgrid[0:H, 0:W][0] * 17) % 256).astype(np.uint8))
colour = Image.fromarray(rng.integers(0, 256, (H, W, 3), dtype=np.uint8)).resize((41, 37))
for name in ('group3', 'group4', 'tiff_ccitt'):
    for photometric in (0, 1):
        for orientation in (1, 3, 6, 8):
            grey.convert('1').save(os.path.join(args.folder, f'{name}-{photometric}-o{orientation}.tif'), compression=name, tiffinfo={262: photometric, 274: orientation})
    grey.convert('1').save(os.path.join(args.folder, f'{name}-strips.tif'), compression=name, strip_size=40)
for mode in ('L', 'RGB', 'CMYK', 'YCbCr'):
    for orientation in (1, 2, 5):
        colour.convert(mode).save(os.path.join(args.folder, f'jpeg-{mode}-o{orientation}.tif'), compression='jpeg', tiffinfo={274: orientation})
    colour.resize((333, 222)).convert(mode).save(os.path.join(args.folder, f'jpeg-{mode}-strips.tif'), compression='jpeg', strip_size=8192)

if args.fixture:
    cases = []
    names = [name for name in sorted(os.listdir(args.folder)) if os.path.getsize(os.path.join(args.folder, name)) <= 900]
    for name in names[::args.sample]:
        data = open(os.path.join(args.folder, name), 'rb').read()
        case = {'name': name, 'file': base64.b64encode(data).decode()}
        try:
            image = Image.open(os.path.join(args.folder, name)).convert('RGB')
            case.update(width=image.width, height=image.height, sha256=hashlib.sha256(image.tobytes()).hexdigest())
        except Exception:
            pass  # Pillow does not read it
        cases.append(case)
    with open(args.fixture, 'w') as out:
        json.dump(cases, out, indent=1)
