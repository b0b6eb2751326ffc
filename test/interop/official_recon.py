"""The official reconstruction script, with pytorch-fid and torchmetrics, on the CPU and with local weights.

Calls test_reconstruction() of tools/test_reconstruction_hf.py as it is; only where weights come from is
replaced (no network), and the model is built from its config and filled by name.
Usage: official_recon.py CLONE MODEL SOURCE WEIGHTS OUT LIMIT BATCH
"""
import json
import os
import sys
import time

clone, model_dir, source, weights, out, limit, batch = sys.argv[1:8]
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
sys.path.insert(0, clone)
sys.path.insert(0, os.path.join(clone, "tools"))
import torch
import torchvision.models
from pytorch_fid import inception
from safetensors.torch import load_file
from vtp.models.vtp_hf import VTPConfig, VTPModel
from vtp.utils import lpips


def read(name):
    return torch.load(os.path.join(weights, name), map_location="cpu", weights_only=True)


def from_pretrained(path):
    config = json.load(open(os.path.join(path, "config.json")))
    model = VTPModel(VTPConfig(**{k: v for k, v in config.items() if k != "model_type"}))
    state = load_file(os.path.join(path, "model.safetensors"))
    model.load_state_dict({k: v if "periods" in k else v.float() for k, v in state.items()}, strict=False)
    return model


vgg16 = torchvision.models.vgg16


def local_vgg16(**_):
    model = vgg16(weights=None)
    model.load_state_dict(read("vgg16-397923af.pth"), strict=False)
    return model


VTPModel.from_pretrained = staticmethod(from_pretrained)
torchvision.models.vgg16 = local_vgg16
lpips.models.vgg16 = local_vgg16
lpips.get_ckpt_path = lambda *_, **__: os.path.join(weights, "vgg.pth")
# The network of FID has buffers that counters of batches fill; they are no weights.
inception_v3 = inception.fid_inception_v3


def load_inception(*_, **__):
    state = read("pt_inception-2015-12-05-6726825d.pth")
    for name in [n for n in state if n.endswith("running_var")]:
        state.setdefault(name.replace("running_var", "num_batches_tracked"), torch.zeros((), dtype=torch.int64))
    return state


inception.load_state_dict_from_url = load_inception

import test_reconstruction_hf as script

torch.set_num_threads(os.cpu_count())
start = time.perf_counter()
result = script.test_reconstruction(model_dir, source, out, "cpu", int(batch), "fp32", True, False, 2, int(limit))
print(json.dumps({**result, "seconds": time.perf_counter() - start}))
