"""Images per second of the official VTP model (get_reconstruction_latents) under bfloat16 autocast.

Usage: official_speed.py CLONE MODEL DEVICE BATCHES SECONDS [fp32|bf16]
Batches go to the device from pinned memory and latents come back, as in its own script. One JSON line per batch size.
"""
import json
import os
import sys
import time

clone, model_dir, device, batches, limit = sys.argv[1:6]
precision = sys.argv[6] if len(sys.argv) > 6 else "bf16"
sys.path.insert(0, clone)
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
import torch
from safetensors.torch import load_file
from vtp.models.vtp_hf import VTPConfig, VTPModel

kind = device.split(":")[0]
config = VTPConfig(**{k: v for k, v in json.load(open(os.path.join(model_dir, "config.json"))).items() if k != "model_type"})
model = VTPModel(config)
state = load_file(os.path.join(model_dir, "model.safetensors"))
model.load_state_dict({k: v.float() if "periods" not in k else v.bfloat16() for k, v in state.items()}, strict=False)
model.eval().to(device)
size = config.image_size


def finish():
    if kind == "cuda":
        torch.cuda.synchronize()


for batch in map(int, batches.split(",")):
    row = {"side": "official", "device": device, "shape": os.path.basename(model_dir), "precision": precision, "batch": batch}
    try:
        images = torch.randn(batch, 3, size, size)
        if kind == "cuda":
            images = images.pin_memory()

        def run():
            latents = model.get_reconstruction_latents(images.to(device, non_blocking=True))
            return latents.float().cpu()

        with torch.no_grad(), torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16"):
            for _ in range(2):
                run()
            finish()
            began = time.perf_counter()
            done = 0
            while done == 0 or time.perf_counter() - began < float(limit):
                run()
                done += batch
            finish()
            row["rate"] = done / (time.perf_counter() - began)
    except Exception as error:  # one size that does not fit must not end the others
        row["problem"] = str(error).split("\n")[0]
    print(json.dumps(row), flush=True)
