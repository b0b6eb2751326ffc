"""Steps of LightningDiT's training loop as train.py makes them: official model and losses, AdamW, moving average.

Usage: official_train.py CLONE HIDDEN HEADS DEPTH BATCH STEPS fp32|bf16. Prints one JSON line: medians of all steps but
the first, and the peak memory of the process. bf16 is torch.autocast.
"""
import copy
import json
import os
import resource
import statistics
import sys
import time

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
clone = sys.argv[1]
hidden, heads, depth, batch, steps = map(int, sys.argv[2:7])
precision = sys.argv[7]
sys.path.insert(0, clone)
import torch
from models.lightningdit import LightningDiT
from transport import create_transport

torch.set_num_threads(len(os.sched_getaffinity(0)))
torch.manual_seed(0)
model = LightningDiT(
    input_size=16, patch_size=1, in_channels=64, hidden_size=hidden, depth=depth, num_heads=heads,
    use_swiglu=True, use_rope=True, use_rmsnorm=True)
for parameter in model.parameters():
    if parameter.requires_grad and parameter.ndim > 1:
        torch.nn.init.normal_(parameter, std=0.02)
ema = copy.deepcopy(model)
for parameter in ema.parameters():
    parameter.requires_grad = False
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4, weight_decay=0, betas=(0.9, 0.95))
transport = create_transport("Linear", "velocity", None, None, None, use_cosine_loss=True, use_lognorm=True)
model.train()


@torch.no_grad()
def update_ema(decay=0.9999):
    averages = dict(ema.named_parameters())
    for name, parameter in model.named_parameters():
        averages[name].mul_(decay).add_(parameter.data, alpha=1 - decay)


wall, cpu, updates = [], [], []
for _ in range(steps):
    x, y = torch.randn(batch, 64, 16, 16), torch.randint(0, 1000, (batch,))
    began, used = time.perf_counter(), time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        losses = transport.training_losses(model, x, dict(y=y))
        loss = losses["cos_loss"].mean() + losses["loss"].mean()
    optimizer.zero_grad()
    loss.backward()
    before = time.process_time()
    optimizer.step()
    update_ema()
    ended = time.process_time()
    wall.append(time.perf_counter() - began)
    cpu.append(ended - used)
    updates.append(ended - before)
median = lambda values: statistics.median(values[1:])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"wall": median(wall), "cpu": median(cpu), "optimizer": median(updates), "peakMib": round(peak)}))
