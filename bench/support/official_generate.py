"""The official LightningDiT and its sampler, as its users run them on a CPU. Prints one JSON line per run.

Reads lines from standard input: "fp32" or "bf16" runs the Euler sampler once in that precision (bf16 is
torch.autocast), anything else ends. Loading is not timed.
Usage: official_generate.py CLONE CHECKPOINT.safetensors TYPE BATCH STEPS GUIDANCE wall|cpu
"""
import json
import os
import sys
import time
import types

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
clone, checkpoint, model_type, batch, steps, guidance, clock_name = sys.argv[1:8]
sys.path.insert(0, clone)
# models/rmsnorm.py imports fairscale for classes that the model does not use.
try:
    import fairscale  # noqa: F401
except ImportError:
    for name in ("fairscale", "fairscale.nn", "fairscale.nn.model_parallel", "fairscale.nn.model_parallel.initialize"):
        sys.modules[name] = types.ModuleType(name)
    layers = types.ModuleType("fairscale.nn.model_parallel.layers")
    for name in ("ColumnParallelLinear", "ParallelEmbedding", "RowParallelLinear"):
        setattr(layers, name, object)
    sys.modules[layers.__name__] = layers
import torch
from models.lightningdit import LightningDiT_models
from safetensors.torch import load_file
from transport import Sampler, create_transport

torch.set_num_threads(os.cpu_count())
torch.set_grad_enabled(False)
model = LightningDiT_models[model_type](
    input_size=16, num_classes=1000, in_channels=64, use_qknorm=False, use_swiglu=True, use_rope=True,
    use_rmsnorm=True, wo_shift=False)
model.load_state_dict(load_file(checkpoint))
model.eval()
sample = Sampler(create_transport("Linear", "velocity", None, None, None, use_cosine_loss=True, use_lognorm=True)).sample_ode(
    sampling_method="euler", num_steps=int(steps), atol=1e-6, rtol=1e-3, reverse=False, timestep_shift=0.075)


def clock():
    return time.process_time() / os.cpu_count() if clock_name == "cpu" else time.perf_counter()


n = int(batch)
z = torch.randn(n, 64, 16, 16, generator=torch.Generator().manual_seed(0))
y = torch.arange(n) * 37
kwargs, run = dict(y=y), model.forward
if float(guidance) > 1:
    z = torch.cat([z, z])
    kwargs = dict(y=torch.cat([y, torch.full((n,), 1000)]), cfg_scale=float(guidance), cfg_interval=True, cfg_interval_start=0.0)
    run = model.forward_with_cfg
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    precision = line.strip()
    if precision not in ("fp32", "bf16"):
        break
    start = clock()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        out = sample(z, run, **kwargs)[-1].float()
    print(json.dumps({"seconds": clock() - start, "rms": float(out.square().mean().sqrt())}), flush=True)
