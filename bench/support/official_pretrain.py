"""Steps of joint pre-training with the official training class (vtp/models/vtp.py) in float32.

    official_pretrain.py CLONE CASE THREADS [--shared] [--fused]

CASE is a folder as `vtp pretrain --replay` takes it: config.json, model.safetensors, training.safetensors, recipe.json
and batches.safetensors, whose batches are taken in turn. Every line of stdin with a number N is answered by a line of
JSON: processor and wall seconds of N steps, and the log of the last one. --shared lets one pass of the trunk serve the
contrastive loss and reconstruction; --fused takes PyTorch's fused AdamW. The class needs omegaconf.

Losses, schedules and groups are written out here as docs/pretraining.md says: the class has none.
"""

import argparse
import json
import logging
import math
import os
import sys
import time
import warnings

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

MEAN = torch.tensor([0.485, 0.456, 0.406])
STD = torch.tensor([0.229, 0.224, 0.225])
STUDENT_TEMPERATURE = 0.1


def build(config, recipe):
    """The training class of a config.json, without dropout of its own: kept rows come with the batch."""
    from omegaconf import OmegaConf
    from vtp.models.vtp import VTP

    head, weights = recipe["config"]["head"], recipe["hyper_parameters"]
    vision = lambda key: config[f"vision_{key}"]
    text = lambda key: config[f"text_{key}"]
    decoder = lambda key: config[f"decoder_{key}"]
    rope = recipe["config"].get("rope", "bf16")
    drop = {f"{name}_drop_rate": 0.0 for name in ("clip", "ssl", "rec")} | recipe["config"].get("drop", {})
    return VTP(vtp_config=OmegaConf.create({
        "data": {"image_size": config["image_size"]},
        "training": {
            "train_clip": config["train_clip"], "train_dinov2": weights["w_ssl"] > 0,
            "train_reconstruction": config["train_reconstruction"], "cast_dtype": None, "clip_output_dict": True,
            **{key: config[key] for key in ("init_logit_scale", "init_logit_bias", "nonscalar_logit_scale")}, **drop,
        },
        "vtp_model": {
            "vision_encoder": {
                "model_type": "dinov3", "patch_size": vision("patch_size"), "embed_dim": vision("embed_dim"),
                "depth": vision("depth"), "num_heads": vision("num_heads"), "mlp_ratio": vision("mlp_ratio"),
                "ffn_layer": vision("ffn_layer"), "norm_type": vision("norm_layer"),
                "init_values": vision("init_values"), "use_qk_norm": vision("use_qk_norm"),
                "vit_feature_bottleneck": vision("feature_bottleneck"),
                "bottleneck_ae_only": vision("bottleneck_ae_only"), "clip_feat": vision("clip_feat"),
                "pos_embed_rope_dtype": rope,
            },
            "text_encoder": {
                "context_length": text("context_length"), "vocab_size": text("vocab_size"),
                "embed_dim": text("embed_dim"), "heads": text("num_heads"), "layers": text("depth"),
                "mlp_ratio": text("mlp_ratio"), "ls_init_value": text("ls_init_value"),
                "embed_cls": text("embed_cls"), "no_causal_mask": text("no_causal_mask"), "pad_id": text("pad_id"),
                "pool_type": text("pool_type"), "proj_type": text("proj_type"), "proj_bias": text("proj_bias"),
                "output_tokens": text("output_tokens"), "quick_gelu": text("quick_gelu"), "norm_kwargs": None,
                "act_kwargs": None,
            },
            "pixel_decoder": {
                "model_type": "dinov3", "embed_dim": decoder("embed_dim"), "depth": decoder("depth"),
                "num_heads": decoder("num_heads"), "ffn_layer": decoder("ffn_layer"),
                "norm_layer": decoder("norm_layer"), "layerscale_init": decoder("init_values"),
                "use_qk_norm": decoder("use_qk_norm"), "pos_embed_rope_dtype": rope,
            },
            "dino_head": {
                "out_dim": head["K"], "nlayers": head["layers"], "hidden_dim": head["hidden"],
                "bottleneck_dim": head["bottleneck"],
            },
        },
    })).train()


def published(name):
    """A name of the training class as checkpoints have it."""
    for teacher in ("teacher_", ""):
        if name.startswith(teacher + "proj."):
            return name.replace("proj.", "visual_proj.", 1)
    return "text_" + name if name.startswith("transformer.") else name


def load(model, tensors):
    """Fills a model from checkpoint names. All parameters must be there; the teacher's buffers are the student's."""
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if name == "attn_mask" or (name.endswith("periods") and published(name) not in tensors):
                continue
            value.copy_(tensors[published(name)].to(value.dtype).reshape(value.shape))


class KeptRows:
    """Stands in for the class's draws: which rows stochastic depth keeps, in the order in which blocks ask."""

    def __init__(self):
        self.queue = []

    def __call__(self, x, _ratio):
        rows = self.queue.pop(0)
        return rows, x.shape[0] / len(rows)

    def expect(self, tensors, branch, depth, views):
        self.queue = [
            tensors[f"keep.{branch}.block{block}.{part}{view}"]
            for block in range(depth) for part in ("attn", "ffn") for view in views
        ]


def cosine(schedule, step):
    base, final, total = schedule["base_value"], schedule["final_value"], schedule["total_iters"]
    warmup, start = schedule.get("warmup_iters") or 0, schedule.get("start_warmup_value") or 0
    if step >= total:
        return final
    if step < warmup:
        return start if warmup == 1 else start + (base - start) * step / (warmup - 1)
    return final + 0.5 * (base - final) * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def group_of(name, parameter, depth, given):
    """Rate and decay of a parameter: DINOv2's rules, and OpenCLIP's for the text side."""
    text = ("text_transformer.", "token_embedding.", "positional_embedding", "ln_final.", "text_projection", "logit_")
    if name.startswith(text):
        decays = parameter.ndim >= 2 and not any(part in name for part in ("ln", "bias", "logit_scale"))
        return 1.0, float(decays), False
    layer = depth + 1
    if name.startswith("trunk."):
        if any(part in name for part in (".patch_embed", ".mask_token", ".cls_token")):
            layer = 0
        elif ".blocks." in name:
            layer = int(name.split(".")[2]) + 1
    rate = given["layer_decay"] ** (depth + 1 - layer)
    if "patch_embed" in name:
        rate *= given["patch_embed_lr_mult"]
    decays = not (name.endswith(".bias") or "norm" in name or "gamma" in name)
    return rate, float(decays), "last_layer" in name


def planes(pixels):
    return ((pixels.float() / 255 - MEAN) / STD).permute(0, 3, 1, 2).contiguous()


def sinkhorn(logits, temperature, iterations=3):
    q = torch.exp((logits.double() / temperature - (logits.double() / temperature).max())).T
    q /= q.sum()
    for _ in range(iterations):
        q /= q.sum(dim=1, keepdim=True) * q.shape[0]
        q /= q.sum(dim=0, keepdim=True) * q.shape[1]
    return (q * q.shape[1]).T.float()


def log_student(logits):
    return F.log_softmax(logits / STUDENT_TEMPERATURE, dim=-1)


def koleo(features):
    unit = F.normalize(features, eps=1e-8, p=2, dim=-1)
    with torch.no_grad():
        dots = unit @ unit.T
        dots.fill_diagonal_(-1)
        nearest = dots.argmax(dim=1)
    distance = F.pairwise_distance(unit, unit[nearest], p=2, eps=1e-8)
    return -torch.log(distance + 1e-8).mean()


def laplacian(image, target):
    difference, total = image - target, 0
    for _ in range(3):
        means = F.avg_pool2d(difference, 2)
        total = total + (difference - F.interpolate(means, scale_factor=2, mode="nearest")).abs().mean()
        difference = means
    return total + difference.abs().mean()


def contrastive(images, texts, scale, bias, batch, siglip):
    logits = scale * images @ texts.T
    if bias is not None:
        logits = logits + bias
    if "caption_matches.by_image" in batch:
        by_image, by_caption = batch["caption_matches.by_image"], batch["caption_matches.by_caption"]
        rows = (by_image * F.log_softmax(logits, dim=1)).sum()
        return -(rows + (by_caption * F.log_softmax(logits, dim=0)).sum()) / 2
    n = logits.shape[0]
    if siglip:
        return -F.logsigmoid((2 * torch.eye(n) - 1) * logits).sum() / n
    labels = torch.arange(n)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


class JointStep:
    """The state of a pre-training and its steps, as `vtp pretrain --replay` makes them."""

    def __init__(self, config, recipe, tensors, shared=False, fused=False, perceptual=None):
        self.config, self.recipe, self.given = config, recipe, recipe["hyper_parameters"]
        self.shared, self.perceptual = shared, perceptual
        self.model = build(config, recipe)
        load(self.model, tensors)
        import vtp.models.layers.block as block

        self.kept = block.get_branges_scales = KeptRows()
        groups = {}
        for name, parameter in self.model.named_parameters():
            if not name.startswith("teacher_"):
                group = group_of(published(name), parameter, config["vision_depth"], self.given)
                groups.setdefault(group, []).append(parameter)
        self.optimizer = torch.optim.AdamW(
            [{"params": params, "group": group} for group, params in groups.items()],
            betas=tuple(self.given["betas"]), eps=self.given["eps"], fused=fused,
        )
        self.centres = {name: torch.zeros(1, recipe["config"]["head"]["K"]) for name in ("dino", "ibot")}

    def parameters(self):
        return [p for name, p in self.model.named_parameters() if not name.startswith("teacher_")]

    def targets(self, logits, name, temperature):
        if self.given["centering"] == "sinkhorn_knopp":
            return sinkhorn(logits, temperature)
        out = F.softmax((logits - self.centres[name]) / temperature, dim=-1)
        self.centres[name] = self.centres[name] * 0.9 + logits.mean(dim=0, keepdim=True) * (1 - 0.9)
        return out

    def self_supervised(self, batch, temperature):
        given, locals_ = self.given, self.given["local_crops"]
        masked = batch["mask_indices"]
        views = (".global", ".local") if locals_ else (".global",)
        ssl_rate = self.model.ssl_drop_rate
        if ssl_rate > 0:
            self.kept.expect(batch, "ssl", self.config["vision_depth"], views)
        crops = dict(
            global_crops=planes(batch["global_u8"]), n_global_crops=2, mask_indices_list=masked,
            n_masked_patches=len(masked), upperbound=len(masked), masks=batch["masks"].bool(),
        )
        if locals_:
            crops["local_crops"] = planes(batch["local_u8"])
            teacher, student = self.model.forward_ssl_learning(**crops)
        else:
            teacher, student = self.without_locals(**crops)
        rows = crops["global_crops"].shape[0]
        images, terms = rows // 2, 2 + 2 * locals_
        cls = self.targets(teacher["teacher_cls_tokens_after_head"], "dino", temperature)
        patches = self.targets(teacher["masked_teacher_patch_tokens_after_head"], "ibot", temperature)
        losses = {"dino_local": torch.zeros(())}
        if locals_:
            both = cls.reshape(2, images, -1).sum(dim=0)
            logs = log_student(student["student_local_cls_tokens_after_head"]).reshape(locals_, images, -1)
            losses["dino_local"] = -(logs * both).sum() / images / terms
        logs = log_student(student["student_global_cls_tokens_after_head"])
        losses["dino_global"] = -(logs * cls).sum(dim=-1).mean() * 2 / terms
        losses["koleo"] = sum(koleo(part) for part in student["student_global_cls_tokens"].chunk(2))
        logs = log_student(student["student_global_masked_patch_tokens_after_head"])
        losses["ibot"] = -((logs * patches).sum(dim=-1) * batch["masks_weight"]).sum() / rows
        return losses

    def without_locals(self, global_crops, n_global_crops, mask_indices_list, n_masked_patches, upperbound, masks):
        """The class's two forwards, which take no empty list of local crops."""
        model = self.model
        teacher = model.get_teacher_forward_outputs(
            global_crops, n_global_crops, mask_indices_list, n_masked_patches, upperbound)
        ae_only = self.config["vision_bottleneck_ae_only"]
        out = model.trunk(
            global_crops, is_training=True, masks=masks, use_bottleneck=not ae_only, drop_ratio=model.ssl_drop_rate)
        cls = out["x_norm_clstoken"]
        patches = out["x_norm_patchtokens"].flatten(0, 1)[mask_indices_list]
        return teacher, {
            "student_global_cls_tokens_after_head": model.dino_head(cls),
            "student_global_cls_tokens": cls,
            "student_global_masked_patch_tokens_after_head": model.dino_head(patches),
        }

    def whole_view(self, batch):
        """Image features and reconstruction from one pass of the trunk."""
        model, config = self.model, self.config
        images = planes(batch["clip_u8"])
        out = model.trunk(images, is_training=True, use_bottleneck=False, drop_ratio=0.0)
        features = F.normalize(model.proj(out["x_norm_clstoken"]), dim=-1)
        target = images[: self.recipe["config"]["batch"]["rec"]]
        tokens = model.trunk._apply_feature_bottleneck(out["x_norm_patchtokens"][: len(target)])
        model._current_img_h, model._current_img_w = target.shape[2:]
        return features, model.pixel_decoder(model._convert_patch_tokens_to_4d(tokens)), target

    def text_features(self, tokens):
        """As the class's encode_text, on texts that may be shorter than the table of positions."""
        model, length = self.model, tokens.shape[1]
        if length == model.positional_embedding.shape[0]:
            return model.encode_text(tokens, normalize=True)
        x = model.token_embedding(tokens) + model.positional_embedding[:length]
        x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
        return F.normalize(x[torch.arange(len(x)), tokens.argmax(dim=-1)] @ model.text_projection, dim=-1)

    def losses(self, batch, temperature):
        given, model, found = self.given, self.model, {}
        depth = self.config["vision_depth"]
        if given["w_clip"] > 0:
            if self.shared:
                images, reconstructed, target = self.whole_view(batch)
            else:
                if model.clip_drop_rate > 0:
                    self.kept.expect(batch, "clip", depth, ("",))
                images = model.encode_image(planes(batch["clip_u8"]), normalize=True)
            texts, siglip = self.text_features(batch["tokens"]), self.recipe["config"].get("siglip", False)
            found["clip"] = contrastive(images, texts, model.logit_scale.exp(), model.logit_bias, batch, siglip)
        if given["w_ssl"] > 0:
            found |= self.self_supervised(batch, temperature)
        if given["w_rec"] > 0:
            if not self.shared:
                if model.rec_drop_rate > 0:
                    self.kept.expect(batch, "rec", depth, ("",))
                out = model.forward_reconstruction(planes(batch["rec_u8"]))
                reconstructed, target = out["reconstructed_image"], out["target_image"]
            if self.recipe["config"].get("pixel_loss") == "laplacian":
                found["rec_laplacian"] = laplacian(reconstructed, target)
            else:
                found["rec_l1"] = (reconstructed - target).abs().mean()
            if given["w_lpips"] > 0:
                found["rec_lpips"] = self.perceptual(reconstructed, target)
        return found

    def step(self, batch, iteration):
        given = self.given
        rate = {name: cosine(schedule, iteration) for name, schedule in given["schedules"].items()}
        last = 0.0 if iteration < given["freeze_last_layer_iters"] else rate["lr"]
        for group in self.optimizer.param_groups:
            multiplier, decay, is_last = group["group"]
            group["lr"] = (last if is_last else rate["lr"]) * multiplier
            group["weight_decay"] = rate["weight_decay"] * decay
        found = self.losses(batch, rate["teacher_temp"])
        weights = {
            "clip": given["w_clip"], "koleo": given["w_ssl"] * given["w_koleo"], "rec_l1": given["w_rec"],
            "rec_laplacian": given["w_rec"], "rec_lpips": given["w_rec"] * given["w_lpips"],
        }
        total = sum(weights.get(name, given["w_ssl"]) * value for name, value in found.items())
        self.optimizer.zero_grad()
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters(), given["clip_grad"] or math.inf)
        self.optimizer.step()
        if self.config["train_clip"]:
            with torch.no_grad():
                self.model.logit_scale.clamp_(0, math.log(100))
        self.model.update_teacher(rate["momentum"])
        log = {"iteration": iteration, **rate, "last_layer_lr": last, "grad_norm": norm.item(), "total": total.item()}
        return log | {name: value.item() for name, value in found.items()}


def read_batches(file):
    steps = {}
    for name, value in load_file(file).items():
        step, _, key = name.partition(".")
        steps.setdefault(int(step[len("step"):]), {})[key] = value
    return [steps[step] for step in sorted(steps)]


def read_case(folder):
    read = lambda name: json.load(open(os.path.join(folder, name)))
    tensors = load_file(os.path.join(folder, "model.safetensors"))
    training = os.path.join(folder, "training.safetensors")
    if os.path.exists(training):
        tensors |= load_file(training)
    return read("config.json"), read("recipe.json"), tensors


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("clone")
    parser.add_argument("case")
    parser.add_argument("threads", type=int)
    parser.add_argument("--shared", action="store_true")
    parser.add_argument("--fused", action="store_true")
    args = parser.parse_args()
    sys.path.insert(0, args.clone)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(args.threads)
    config, recipe, tensors = read_case(args.case)
    step = JointStep(config, recipe, tensors, shared=args.shared, fused=args.fused)
    batches, done = read_batches(os.path.join(args.case, "batches.safetensors")), 0
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            log = step.step(batches[done % len(batches)], recipe["hyper_parameters"]["first_iter"] + done)
            done += 1
        seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps(seconds | {"log": log}), flush=True)


if __name__ == "__main__":
    main()
