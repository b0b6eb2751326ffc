"""Opens a checkpoint of `vtp train` with torch and LightningDiT's own classes, and samples from it as inference.py does.

    PYTHONPATH=LIGHTNINGDIT python official_sampler.py CHECKPOINT STATS NOISE OUT

CHECKPOINT is opened with torch.load(weights_only=True): `model` (with `module.`) and `ema` load strictly into the
reference's model, `opt` into torch.optim.AdamW. NOISE (safetensors: `noise` [N, C, h, w], `labels` [N]) goes through
the reference's Euler sampler with 25 points of time. OUT gets `latents`, denormalised, as `vtp generate --latents
safetensors` writes them.
"""

import sys

import torch
from models.lightningdit import LightningDiT
from safetensors.torch import load_file, save_file
from transport import Sampler, create_transport

checkpoint_path, stats_path, noise_path, out = sys.argv[1:]
checkpoint = torch.load(checkpoint_path, map_location="cpu", weights_only=True)
assert list(checkpoint) == ["model", "ema", "opt", "config"], list(checkpoint)
config = checkpoint["config"]
# WIDTHxDEPTHxHEADS/PATCH, as `--size` takes it.
size, patch = config["model"]["model_type"].split("/")
width, depth, heads = (int(part) for part in size.split("x"))
given = load_file(noise_path)


def build():
    options = {name: config["model"][name] for name in ("use_qknorm", "use_swiglu", "use_rope", "use_rmsnorm", "wo_shift")}
    return LightningDiT(
        input_size=given["noise"].shape[-1],
        patch_size=int(patch),
        in_channels=config["model"]["in_chans"],
        hidden_size=width,
        depth=depth,
        num_heads=heads,
        num_classes=config["data"]["num_classes"],
        **options,
    )


trained = build()
trained.load_state_dict({name.removeprefix("module."): value for name, value in checkpoint["model"].items()})
optimizer = torch.optim.AdamW(trained.parameters())
optimizer.load_state_dict(checkpoint["opt"])
steps = {int(state["step"]) for state in optimizer.state.values()}
assert len(steps) == 1, steps

model = build()
model.load_state_dict(checkpoint["ema"])
model.eval()
transport = create_transport("Linear", "velocity", None, None, None)
sample = Sampler(transport).sample_ode(sampling_method="euler", num_steps=25, atol=1e-6, rtol=1e-3)
with torch.no_grad():
    latents = sample(given["noise"], model.forward, y=given["labels"])[-1]
stats = torch.load(stats_path, weights_only=True)
latents = latents * stats["std"] / config["data"]["latent_multiplier"] + stats["mean"]
save_file({"latents": latents.contiguous()}, out)
print(f"step {steps.pop()}: model, ema and optimiser are open; {len(latents)} samples")
