"""Random models and recipes through `vtp pretrain --replay`, compared with the official training class in PyTorch.

    pretrain_cases.py CLONE OUT [--from 0] [--to 20] [--threads 1]

A case is a folder in OUT as --replay takes it. One line is printed for each: what differs by more than the official
class does from itself, with weights that are changed in their last bit and, for RoPE in bfloat16, with a gradient that
passes straight through the rounding. Needs omegaconf, and a built program (npm run build). L1 and LPIPS have kinks: a
pixel that is exactly right may tip the sign of its gradient.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import warnings

here = os.path.dirname(os.path.abspath(__file__))
root = os.path.join(here, "..", "..")
sys.path.insert(0, os.path.join(root, "bench", "support"))
import numpy as np
import torch
from official_pretrain import JointStep, build, published, read_batches
from safetensors.torch import load_file, save_file

STEPS = 3
WEIGHTS = [(1, 1, 0.1), (1, 1, 1), (0.5, 1, 0.3), (1, 0, 0.1), (0, 1, 0.1), (1, 1, 0), (0, 0, 1), (1, 0, 0), (0, 1, 0)]
FFN = ["mlp", "swiglu", "swiglu32", "swiglu64", "swiglu128"]
NORM = ["layernorm", "layernormbf16", "rmsnorm"]
# Log, parameters by their movement, moments: what is allowed at least.
LEAST = {"fp32": (3e-5, 1e-3, 2e-4), "bf16": (3e-4, 1e-2, 3e-3)}


def random_model(pick, rng, weights):
    vision, text, decoder = (int(rng.integers(1, 4)) for _ in range(3))
    dim = vision * pick(8, 16, 12)
    return {
        "model_type": "vtp", "image_size": 64, "train_clip": weights[0] > 0 or pick(True, False),
        "train_reconstruction": weights[2] > 0 or pick(True, False),
        "vision_patch_size": 16 if weights[2] else pick(16, 16, 8, 32, 14), "vision_embed_dim": dim,
        "vision_num_heads": vision, "vision_depth": int(rng.integers(1, 4)),
        "vision_mlp_ratio": pick(1.0, 2.0, 2.6667, 4.0), "vision_ffn_layer": pick(*FFN),
        "vision_norm_layer": pick(*NORM), "vision_init_values": pick(None, None, 0.0, 1e-5, 0.1),
        "vision_use_qk_norm": pick(True, False), "vision_feature_bottleneck": pick(None, dim, 3, 8, 12, 2 * dim),
        "vision_bottleneck_ae_only": pick(True, True, False), "vision_clip_feat": pick("cls", "pooled"),
        "text_context_length": pick(3, 6, 12), "text_vocab_size": pick(40, 96), "text_embed_dim": text * pick(5, 8, 12),
        "text_num_heads": text, "text_depth": int(rng.integers(1, 3)), "text_mlp_ratio": pick(1.0, 3.3, 4.0),
        "text_ls_init_value": pick(None, None, 0.0, 0.1), "text_embed_cls": pick(False, False, True), "text_pad_id": 0,
        "text_no_causal_mask": pick(False, False, True), "text_pool_type": pick("argmax", "argmax", "first", "last"),
        "text_proj_type": pick("linear", "mlp", "none", None), "text_proj_bias": pick(True, False),
        "text_output_tokens": False, "text_quick_gelu": pick(True, False),
        "decoder_embed_dim": decoder * pick(8, 12, 16), "decoder_num_heads": decoder,
        "decoder_depth": int(rng.integers(1, 3)), "decoder_ffn_layer": pick(*FFN), "decoder_norm_layer": pick(*NORM),
        "decoder_init_values": pick(None, 0.0, 0.1), "decoder_use_qk_norm": pick(True, False),
        "init_logit_scale": None, "init_logit_bias": pick(None, -2.0), "nonscalar_logit_scale": pick(True, False),
    }


def random_recipe(pick, rng, weights, patch):
    total, reconstructed = pick(3, 12, 20), int(rng.integers(1, 4))
    rate = lambda: pick(0.0, 0.0, 0.2, 0.3, 0.5, 0.9)
    ramp = lambda base, final, **more: {"base_value": base, "final_value": final, "total_iters": total, **more}
    side = lambda *counts: 64 if patch == 32 else patch * pick(*counts)
    return {
        "config": {
            "rope": pick("fp32", "fp32", "bf16"), "siglip": pick(True, False),
            "image_size": side(2, 3, 4), "global_size": side(2, 4), "local_size": side(1, 2),
            "batch": {"clip": max(reconstructed, int(rng.integers(2, 7))), "ssl": int(rng.integers(2, 5)), "rec": reconstructed},
            "drop": {f"{branch}_drop_rate": rate() for branch in ("clip", "ssl", "rec")},
            "head": {"K": pick(24, 48), "layers": pick(1, 2, 3, 4), "hidden": 24, "bottleneck": pick(8, 12)},
        },
        "hyper_parameters": {
            "w_clip": weights[0], "w_ssl": weights[1], "w_rec": weights[2], "w_lpips": 0, "w_koleo": pick(0, 0.1, 0.1),
            "local_crops": pick(0, 1, 2, 3, 5), "centering": pick("sinkhorn_knopp", "centering"),
            "layer_decay": pick(1, 0.9, 0.65), "patch_embed_lr_mult": pick(1, 0.2), "betas": pick([0.9, 0.999], [0.9, 0.98]),
            "eps": pick(1e-8, 1e-6), "clip_grad": pick(None, 1.0, 3.0), "first_iter": pick(0, 1, 3, 7),
            "freeze_last_layer_iters": pick(0, 2, 4, 8),
            "schedules": {
                "lr": ramp(2e-3, 1e-6, warmup_iters=pick(0, 1, 2), start_warmup_value=pick(0, 1e-5)),
                "weight_decay": ramp(0.04, 0.4), "momentum": ramp(0.992, 1.0),
                "teacher_temp": {**ramp(0.07, 0.07, warmup_iters=10, start_warmup_value=0.04), "total_iters": 10},
            },
        },
    }


def random_weights(model, generator):
    """Values that matter everywhere; the teacher is near its student."""
    draw = lambda value: torch.randn(value.shape, generator=generator)
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in own.items():
            if name.startswith("teacher_"):
                continue
            norm = name.endswith("weight") and ("norm" in name or "ln_" in name)
            if value.dim() >= 2 and not any(part in name for part in ("positional", "token", "weight_g")):
                value.copy_(draw(value) / value[0].numel() ** 0.5)
            else:
                centre = 1.0 if norm or "weight_g" in name else 1.5 if name == "logit_scale" else 0.3 if "gamma" in name else 0.0
                value.copy_(centre + 0.2 * draw(value))
        for name, value in own.items():
            if name.startswith("teacher_"):
                student = own[name.removeprefix("teacher_")]
                value.copy_(student + 0.1 * student.abs().mean() * draw(value))
    named = [*model.named_parameters(), *model.named_buffers()]
    return {published(name): value.detach().clone() for name, value in named if name != "attn_mask"}


def random_batches(rng, config, recipe):
    given, locals_, out = recipe["config"], recipe["hyper_parameters"]["local_crops"], {}
    counts, depth = given["batch"], config["vision_depth"]
    images = lambda count, side: torch.from_numpy(rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8))
    patches = (given["global_size"] // config["vision_patch_size"]) ** 2
    length, end = config["text_context_length"] + config["text_embed_cls"], config["text_vocab_size"] - 1
    rows = {"clip": {"": counts["clip"]}, "rec": {"": counts["rec"]},
            "ssl": {".global": 2 * counts["ssl"], ".local": locals_ * counts["ssl"]}}
    for step in range(STEPS):
        batch = {"clip_u8": images(counts["clip"], given["image_size"]), "global_u8": images(2 * counts["ssl"], given["global_size"])}
        batch["rec_u8"] = batch["clip_u8"][: counts["rec"]].clone()
        if locals_:
            batch["local_u8"] = images(counts["ssl"] * locals_, given["local_size"])
        tokens = rng.integers(1, end, (counts["clip"], length))
        for row in tokens:
            stop = rng.integers(1, length)
            row[stop], row[stop + 1 :] = end, 0
        masks = np.zeros((2 * counts["ssl"], patches), dtype=bool)
        for row in rng.permutation(len(masks))[: counts["ssl"]]:
            masks[row, rng.permutation(patches)[: rng.integers(1, patches // 2 + 1)]] = True
        weight = 1 / np.maximum(masks.sum(axis=1, keepdims=True), 1)
        batch |= {"tokens": torch.from_numpy(tokens), "masks": torch.from_numpy(masks),
                  "mask_indices": torch.from_numpy(masks.reshape(-1).nonzero()[0]),
                  "masks_weight": torch.from_numpy((masks * weight)[masks].astype(np.float32))}
        for branch, views in rows.items():
            rate = given["drop"][f"{branch}_drop_rate"]
            for view, count in views.items() if rate > 0 else ():
                for place in [f"block{block}.{part}" for block in range(depth) for part in ("attn", "ffn")] if count else ():
                    kept = rng.permutation(count)[: max(int(count * (1 - rate)), 1)]
                    batch[f"keep.{branch}.{place}{view}"] = torch.from_numpy(kept.copy())
        out |= {f"step{step}.{name}": value for name, value in batch.items()}
    return out


class Rounded(torch.autograd.Function):
    """To bfloat16 and back, with a gradient that does not see it."""

    @staticmethod
    def forward(_context, x):
        return x.to(torch.bfloat16).float()

    @staticmethod
    def backward(_context, slope):
        return slope


def straight_through(_self, q, k, rope):
    sin, cos = (table.float() for table in rope)

    def turned(x):
        x = Rounded.apply(x)
        lead = x.shape[-2] - sin.shape[-2]
        left, right = x[:, :, lead:].chunk(2, dim=-1)
        half = torch.cat([-right, left], dim=-1)
        body = Rounded.apply(Rounded.apply(x[:, :, lead:] * cos) + Rounded.apply(half * sin))
        return torch.cat([x[:, :, :lead], body], dim=-2)

    return turned(q), turned(k)


def official(config, recipe, tensors, batches, noise=None):
    if noise is not None:
        generator = torch.Generator().manual_seed(noise)
        shaken = lambda value: value * (1 + 6e-8 * torch.randn(value.shape, generator=generator))
        tensors = {name: value if "periods" in name else shaken(value) for name, value in tensors.items()}
    step = JointStep(config, recipe, tensors)
    logs = [step.step(batch, recipe["hyper_parameters"]["first_iter"] + i) for i, batch in enumerate(batches)]
    after = {}
    for name, value in step.model.named_parameters():
        after[published(name)] = value.detach().clone()
        for moment in ("exp_avg", "exp_avg_sq"):
            if moment in step.optimizer.state.get(value, {}):
                after[f"adam.{moment}.{published(name)}"] = step.optimizer.state[value][moment].clone()
    if recipe["hyper_parameters"]["centering"] == "centering" and recipe["hyper_parameters"]["w_ssl"] > 0:
        after |= {f"center.{name}": value for name, value in step.centres.items()}
    return logs, after


def differences(first, second, tensors, skip):
    """Relative ones of log, parameters (by their movement) and moments; without what is 0 but for rounding."""
    found = [{}, {}, {}]
    for ours, theirs in zip(first[0], second[0]):
        for key, value in ours.items():
            apart = abs(theirs.get(key, float("nan")) - value) / max(abs(value), 1e-6)
            found[0][key] = max(found[0].get(key, 0), apart)
    for name, value in first[1].items():
        if name in skip:
            continue
        if name not in second[1]:
            found[1][name] = float("nan")
            continue
        flat = lambda x: x.double().reshape(-1)
        kept = lambda x: torch.cat([x[: len(x) // 3], x[2 * len(x) // 3 :]]) if name.endswith("attn.in_proj_bias") else x
        mine, other = kept(flat(value)), kept(flat(second[1][name]))
        state = name.startswith(("adam.", "center."))
        size = mine.norm() if state else (mine - kept(flat(tensors[name]))).norm()
        found[2 if state else 1][name] = ((mine - other).norm() / (size if size > 0 else 1)).item()
    return found


def ours(folder, threads):
    run = os.path.join(folder, "run")
    subprocess.run(["rm", "-rf", run], check=True)
    flags = {"replay": f"{folder}/batches.safetensors", "init": folder, "recipe": f"{folder}/recipe.json",
             "steps": str(STEPS), "out": run, "threads": str(threads)}
    command = ["node", os.path.join(root, "bin", "run.js"), "pretrain"]
    done = subprocess.run([*command, *(x for key, value in flags.items() for x in (f"--{key}", value))], capture_output=True, text=True)
    if done.returncode != 0:
        return done.stderr.strip()
    with open(f"{run}/log.jsonl") as lines:
        logs = [json.loads(line) for line in lines]
    state = f"{run}/checkpoints/{STEPS:07d}"
    return logs, load_file(f"{state}/model.safetensors") | load_file(f"{state}/training.safetensors")


def compare(number, args):
    rng = np.random.default_rng(1000 + number)
    pick = lambda *options: options[rng.integers(len(options))]
    weights = pick(*WEIGHTS)
    config = random_model(pick, rng, weights)
    recipe = random_recipe(pick, rng, weights, config["vision_patch_size"])
    folder = os.path.join(args.out, f"case{number:03d}")
    os.makedirs(folder, exist_ok=True)
    tensors = random_weights(build(config, recipe), torch.Generator().manual_seed(number))
    beside = {name: value for name, value in tensors.items() if name.startswith(("teacher_", "dino_head."))}
    save_file({name: value for name, value in tensors.items() if name not in beside}, f"{folder}/model.safetensors")
    if beside:
        save_file({name: value for name, value in beside.items() if "periods" not in name}, f"{folder}/training.safetensors")
    save_file(random_batches(rng, config, recipe), f"{folder}/batches.safetensors")
    for name, content in (("config", config), ("recipe", recipe)):
        with open(f"{folder}/{name}.json", "w") as file:
            json.dump(content, file)
    batches = read_batches(f"{folder}/batches.safetensors")
    reference = official(config, recipe, tensors, batches)
    others = [official(config, recipe, tensors, batches, noise) for noise in (1, 2)]
    if recipe["config"]["rope"] == "bf16":
        from vtp.models.layers.attention import SelfAttention

        exact, SelfAttention.apply_rope = SelfAttention.apply_rope, straight_through
        others.append(official(config, recipe, tensors, batches))
        SelfAttention.apply_rope = exact
    found = ours(folder, args.threads)
    if isinstance(found, str):
        return f"{number} refused: {found}"
    skip = [] if recipe["config"]["siglip"] else ["logit_bias", "adam.exp_avg.logit_bias", "adam.exp_avg_sq.logit_bias"]
    noise = [differences(reference, other, tensors, skip) for other in others]
    allowed = lambda part, name: max(4 * max(one[part].get(name, 0) for one in noise), LEAST[recipe["config"]["rope"]][part])
    parts = differences(reference, found, tensors, skip)
    bad = {name: f"{value:.1e}" for part, values in enumerate(parts) for name, value in values.items() if not value <= allowed(part, name)}
    middle = sorted(parts[1].values())[len(parts[1]) // 2]
    return f"{number} {'differs' if bad else 'ok'} {recipe['config']['rope']} median {middle:.1e} {bad or ''}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("clone")
    parser.add_argument("out")
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--to", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    sys.path.insert(0, args.clone)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(args.threads)
    for number in range(args.first, args.to):
        print(compare(number, args), flush=True)


if __name__ == "__main__":
    main()
