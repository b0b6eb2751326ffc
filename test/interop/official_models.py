"""Writes random checkpoints of every kind that VTPConfig knows, with the official code's outputs, as reference cases.

    official_models.py CLONE OUT [--count 20] [--seed 1]

Every case is a folder as test/parity/models.test.ts reads it: config.json, model.safetensors, cases.safetensors and
expected.json with a tolerance per output: three times what the official code differs from itself with another
number of threads, image by image, and with weights changed in their last two bits.
"""

import argparse
import json
import os
import sys

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
parser = argparse.ArgumentParser()
parser.add_argument("clone")
parser.add_argument("out")
parser.add_argument("--count", type=int, default=20)
parser.add_argument("--seed", type=int, default=1)
args = parser.parse_args()
sys.path.insert(0, args.clone)

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from vtp.models.vtp_hf import VTPConfig, VTPModel

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
FFN = ["mlp", "swiglu", "swiglu32", "swiglu64", "swiglu128"]
NORM = ["layernorm", "layernormbf16", "rmsnorm"]


def random_config(rng):
    pick = lambda *options: options[rng.integers(len(options))]
    heads = lambda: int(rng.integers(1, 5))
    vision, decoder, text = heads(), heads(), heads()
    dim = vision * pick(4, 8, 12, 16, 20, 32, 48, 64, 80, 128)
    clip = pick(True, True, True, False)
    return {
        "image_size": pick(64, 96, 224),
        "train_clip": clip,
        "train_reconstruction": pick(True, True, True, False),
        "vision_patch_size": pick(16, 16, 16, 8, 14, 32),
        "vision_embed_dim": dim,
        "vision_num_heads": vision,
        "vision_depth": int(rng.integers(1, 5)),
        "vision_mlp_ratio": pick(1.0, 2.0, 2.6667, 3.0, 4.0, 5.5),
        "vision_ffn_layer": pick(*FFN),
        "vision_norm_layer": pick(*NORM),
        "vision_init_values": pick(None, None, 0.0, 1e-5, 0.1),
        "vision_use_qk_norm": pick(True, False),
        "vision_feature_bottleneck": pick(None, dim, 1, 3, 16, 32, 64, 2 * dim),
        "vision_bottleneck_ae_only": pick(True, False),
        "vision_clip_feat": pick("cls", "pooled"),
        "text_context_length": pick(3, 16, 77),
        "text_vocab_size": pick(40, 500, 49408),
        "text_embed_dim": text * pick(5, 8, 16, 64),
        "text_num_heads": text,
        "text_depth": int(rng.integers(1, 4)),
        "text_mlp_ratio": pick(1.0, 3.3, 4.0),
        "text_ls_init_value": pick(None, None, 0.0, 0.1),
        "text_embed_cls": pick(False, False, True),
        "text_no_causal_mask": pick(False, False, True),
        "text_pool_type": pick("argmax", "argmax", "first", "last", "none"),
        "text_proj_type": pick("linear", "linear", "mlp", "none", None),
        "text_proj_bias": pick(True, False),
        "text_quick_gelu": pick(True, False),
        "decoder_embed_dim": decoder * pick(4, 12, 16, 32, 64),
        "decoder_num_heads": decoder,
        "decoder_depth": int(rng.integers(1, 4)),
        "decoder_ffn_layer": pick(*FFN),
        "decoder_norm_layer": pick(*NORM),
        "decoder_init_values": pick(None, None, 0.0, 0.1),
        "decoder_use_qk_norm": pick(True, False),
        "init_logit_bias": pick(None, -10.0),
        "nonscalar_logit_scale": pick(True, False),
    }


def fill(model, generator):
    """Random values that matter everywhere; the rotation's periods stay as they are."""
    for name, value in model.named_parameters():
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith("gamma"):
            value.data = 0.2 + 0.5 * noise
        elif value.dim() >= 2 and "positional" not in name and "token" not in name:
            fan_in = value[0].numel()
            value.data = noise * (1.6 if "qkv" in name or "in_proj" in name else 1.0) / fan_in**0.5
        elif "norm" in name and name.endswith("weight") or ".ln_" in name and name.endswith("weight"):
            value.data = 1 + 0.25 * noise
        elif name == "logit_scale":
            value.data = 2.5 + 0.1 * noise
        else:
            value.data = (0.5 if "positional" in name or "token" in name else 0.2) * noise


def outputs(model, image, tokens):
    """What the parity test knows, by its names."""
    config, out = model.config, {}
    latents = model.get_reconstruction_latents(image)
    out["reconstruction_latents"] = latents
    if config.train_reconstruction:
        out["decoded"] = torch.cat([model.get_latents_decoded_images(one[None]) for one in fixed.get("latents", latents)])
    for use in (False, True):
        last = model.get_last_layer_feature(image, use_bottleneck=use)
        out[f"last.bottleneck_{use}.cls"] = last["cls_token"]
        out[f"last.bottleneck_{use}.patch"] = last["patch_tokens"]
    for norm in (False, True):
        layers = model.get_intermediate_layers_feature(image, config.vision_depth, return_class_token=True, norm=norm)
        for i, (patch, cls) in enumerate(layers):
            out[f"inter.n_{config.vision_depth}.norm_{norm}.reshape_False.{i}.patch"] = patch
            out[f"inter.n_{config.vision_depth}.norm_{norm}.reshape_False.{i}.cls"] = cls
    if config.train_clip:
        for normalize in (True, False):
            out[f"clip_image.normalize_{normalize}"] = model.get_clip_image_feature(image, normalize)
            out[f"clip_text.normalize_{normalize}"] = model.get_clip_text_feature(tokens, normalize)
        if config.text_pool_type != "none":
            out["logits_per_image"], out["logits_per_text"] = model.get_clip_logits(image, tokens)
    return {name: value.float().clone().contiguous() for name, value in out.items()}


def differences(a, b):
    d = (a - b).double()
    return d.norm() / b.double().norm(), d.abs().max() / b.abs().max()


fixed = {}


@torch.no_grad()
def write_case(index):
    rng = np.random.default_rng([args.seed, index])
    generator = torch.Generator().manual_seed(1000 * args.seed + index)
    settings = random_config(rng)
    model = VTPModel(VTPConfig(**settings)).eval()
    fill(model, generator)
    bf16 = index % 7 == 6
    if bf16:
        for value in model.parameters():
            value.data = value.data.bfloat16().float()
    patch = settings["vision_patch_size"]
    height, width = (patch * int(rng.integers(1, 10)) + int(rng.integers(2)) * int(rng.integers(patch)) for _ in "hw")
    count = int(rng.integers(1, 5))
    pixels = torch.from_numpy(rng.integers(0, 256, (count, height // 4 + 1, width // 4 + 1, 3)).astype(np.float32))
    pixels = torch.nn.functional.interpolate(pixels.permute(0, 3, 1, 2), (height, width), mode="bicubic")
    pixels = pixels.clamp(0, 255).to(torch.uint8)
    image = (pixels.float() / 255 - MEAN) / STD
    length = settings["text_context_length"] + settings["text_embed_cls"]
    tokens = torch.from_numpy(rng.integers(1, settings["text_vocab_size"], (3, length)))
    fixed.clear()
    expected = outputs(model, image, tokens)
    fixed["latents"] = expected["reconstruction_latents"]

    worst = {name: [0.0, 0.0] for name in expected}

    def compare(others):
        for name, value in others.items():
            for i, error in enumerate(differences(value, expected[name])):
                worst[name][i] = max(worst[name][i], float(error))

    torch.set_num_threads(1)
    compare(outputs(model, image, tokens))
    singles = [outputs(model, one[None], tokens) for one in image]
    compare({
        name: torch.cat([s[name] for s in singles], 1 if name == "logits_per_text" else 0)
        for name in expected
        if not name.startswith("clip_text") and name != "decoded"
    })
    torch.set_num_threads(2)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(16):
        for value in model.parameters():
            value.data = value.data * (1 + 2e-7 * torch.randn(value.shape, generator=generator))
        compare(outputs(model, image, tokens))
        model.load_state_dict(state)
    with torch.autocast("cpu", torch.bfloat16):
        half = outputs(model, image, tokens)

    folder = os.path.join(args.out, "models", f"random_{args.seed}_{index:03d}")
    os.makedirs(folder, exist_ok=True)
    model.save_pretrained(folder)
    if bf16:
        file = os.path.join(folder, "model.safetensors")
        save_file({k: v.bfloat16() for k, v in load_file(file).items()}, file, {"format": "pt"})
    cases = {"in.image_u8": pixels.permute(0, 2, 3, 1).contiguous(), "in.tokens": tokens, **expected}
    cases |= {f"bf16_autocast.{name}": value for name, value in half.items() if not name.startswith("inter")}
    if "decoded" in expected:
        shown = (expected["decoded"] * STD + MEAN).clamp(0, 1)
        cases["decoded_u8"] = (shown.permute(0, 2, 3, 1) * 255).to(torch.uint8).contiguous()
    save_file(cases, os.path.join(folder, "cases.safetensors"))
    tolerance = {k: {"rel_l2": 3 * a + 2e-6, "rel_max": 3 * b + 5e-6} for k, (a, b) in worst.items()}
    with open(os.path.join(folder, "expected.json"), "w") as out:
        json.dump({"suggested_tolerance": tolerance, "config": settings}, out, indent=1)
    print(os.path.basename(folder), f"{height}x{width} x{count}", json.dumps(settings), flush=True)


for index in range(args.count):
    write_case(index)
