"""The official VTP model on fixed inputs, one job per line of standard input; answers with seconds.

Usage: official_engine.py CLONE MODEL BATCH THREADS wall|cpu
Jobs: "encode fp32|bf16" (latents), "all fp32|bf16" (the three calls that give latents, clip, cls and patches),
"decode fp32|bf16".
"""
import json
import os
import sys
import time

clone, model_dir, batch, threads, clock = sys.argv[1:6]
sys.path.insert(0, clone)
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
import torch
from safetensors.torch import load_file
from vtp.models.vtp_hf import VTPConfig, VTPModel

torch.set_num_threads(int(threads))
config = VTPConfig(**{k: v for k, v in json.load(open(os.path.join(model_dir, "config.json"))).items() if k != "model_type"})
model = VTPModel(config)
state = load_file(os.path.join(model_dir, "model.safetensors"))
model.load_state_dict({k: v.float() if "periods" not in k else v.bfloat16() for k, v in state.items()}, strict=False)
model.eval()
size = config.image_size
images = torch.randn(int(batch), 3, size, size)
latents = torch.randn(int(batch), config.vision_feature_bottleneck, size // 16, size // 16)


def now():
    return time.process_time() / int(threads) if clock == "cpu" else time.perf_counter()


def everything():
    model.get_reconstruction_latents(images)
    model.get_clip_image_feature(images)
    model.get_last_layer_feature(images)


jobs = {
    "encode": lambda: model.get_reconstruction_latents(images),
    "all": everything,
    "decode": lambda: model.get_latents_decoded_images(latents),
}
print("ready", flush=True)
for line in sys.stdin:
    job, precision = line.split()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        start = now()
        jobs[job]()
        seconds = now() - start
    print(seconds, flush=True)
